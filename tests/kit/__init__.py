"""What the tests share, a room for each subject; nothing here is a test.

backends    every backend, opened and read without the code under test
otlp        requests as senders write them, and what they mean
receiver    a receiver in this process
spool       spool files, and processes that use one
durability  senders that know what was acknowledged, and stores that are counted
fuzz        damaged requests and damaged HTTP/2
openfinops  the published package
processes   the program as a process of its own
queries     a store filled with known points
rollups     a TimescaleDB with roll-ups and known points
"""
