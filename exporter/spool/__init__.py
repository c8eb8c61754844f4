"""The durable queue between accepting a request and storing its rows.

A request is acknowledged once its bytes are synced here, and deleted when the backend has
committed it. One SQLite file, used by one process. It starts no thread and reads no time of day:
times are arguments. Only `Spool.measure_sync_seconds` uses a timer, for the duration of a sync.

entry        one accepted request, and its row
compression  compresses a request, with a checksum
errors       the errors that are raised, translated from SQLite's
schema       the tables, their format, and the connections to them
database     reads and writes the rows of one open file
recovery     renames a damaged file and copies what can be read of it into a new one
lock         keeps a second process from the file
state        counts, watermarks and digests in memory: `SpoolState`
spool_file   the file while it is in use: opens, changes and replaces it
spool        the queue itself: `Spool`
"""

from exporter.spool.compression import compress, decompress
from exporter.spool.entry import Entry, Signal
from exporter.spool.errors import (
    SpoolFullError,
    SpoolLockedError,
    SpoolRefusedError,
    SpoolUnavailableError,
)
from exporter.spool.spool import Spool
from exporter.spool.state import DigestCache, SpoolState

__all__ = [
    "DigestCache",
    "Entry",
    "Signal",
    "Spool",
    "SpoolFullError",
    "SpoolLockedError",
    "SpoolRefusedError",
    "SpoolState",
    "SpoolUnavailableError",
    "compress",
    "decompress",
]
