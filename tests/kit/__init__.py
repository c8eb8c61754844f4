"""Helpers of the tests, a package or module for each subject; nothing here is a test.

backends       every backend, and independent reads of what it stored
otlp           requests as senders write them, and the points they mean
receiver       a receiver in this process
spool          spool files, and processes that use one
durability     senders that record what was acknowledged, and counts of what was stored
fuzz           damaged requests and damaged HTTP/2
openfinops     the published package
processes      the program as a process of its own
pipelines      pipelines in this process, and the requests for them
batch_builder  stores with known points
cost_sender    senders whose metrics become cost samples
configuration  configuration files and variables
rollups        a TimescaleDB with roll-ups and known points
"""
