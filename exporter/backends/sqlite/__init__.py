"""The backend `sqlite`: all tables in one file."""

from exporter.backends.sqlite.backend import SQLiteBackend

__all__ = ["SQLiteBackend"]
