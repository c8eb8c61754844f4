"""What the tests of the backends share.

samples      series, points and batches with defaults for every field
kinds        the backends under test
locations    where they store their data; a pytest plugin with fixtures
documented_rows  the rows for the statements of the pages about the schema
stored_rows  what a backend has stored, in terms that are the same for every database
dict_store   a store of dicts, the reference for `stored_rows`
old_stores   the content of the stores of earlier versions in tests/migrations
strategies   Hypothesis strategies for batches
programs     runs the programs of a `worker.py` as processes
worker       programs that write, or hold a lock
proxy        a TCP proxy that breaks a connection at a COMMIT
"""
