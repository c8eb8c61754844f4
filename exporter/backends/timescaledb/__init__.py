"""The backend `timescaledb`: hypertables, which the database itself compresses and prunes."""

from exporter.backends.timescaledb.backend import timescaledb_backend
from exporter.backends.timescaledb.columnstore import DirectCompress
from exporter.backends.timescaledb.hypertable_setup import HypertableOptions

__all__ = ["DirectCompress", "HypertableOptions", "timescaledb_backend"]
