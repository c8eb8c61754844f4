"""The backend `postgresql`: tables partitioned by day, filled by binary COPY."""

from exporter.backends.postgresql.backend import PostgreSQLBackend

__all__ = ["PostgreSQLBackend"]
