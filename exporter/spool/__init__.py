"""The durable queue between accepting a request and storing its rows.

A request is acknowledged once its bytes are synced here, and leaves when the backend has
committed it. One SQLite file, used by one process. No thread and no clock: times are arguments,
and the caller decides on which thread each call runs.

errors       what can go wrong, and whether trying again helps
entry        one accepted request
compression  its bytes, smaller and with a checksum
files        the file's place: private, locked, moved away when damaged
layout       the tables, and whether a file has them
store        one open file
waiting      how much waits, kept in memory
digests      which requests were seen, kept in memory
salvage      what can still be read of a damaged file
loading      from a file to what is kept in memory
tally        all that is kept in memory
keeper       the file while it is in use, and another one where it is damaged
queue        all of it together: `Spool`
"""

from exporter.spool.compression import compress, decompress
from exporter.spool.entry import Entry, Signal
from exporter.spool.errors import (
    SpoolFullError,
    SpoolLockedError,
    SpoolRefusedError,
    SpoolUnavailableError,
)
from exporter.spool.queue import Spool

__all__ = [
    "Entry",
    "Signal",
    "Spool",
    "SpoolFullError",
    "SpoolLockedError",
    "SpoolRefusedError",
    "SpoolUnavailableError",
    "compress",
    "decompress",
]
