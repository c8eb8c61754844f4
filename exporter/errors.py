"""The one tree of errors: every failure is retryable or permanent, and that decides the reply.

A message says the operation, the object, the value found and what to do next. Secrets never
enter a message: connection strings are redacted before they get here.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BackendRefusedError",
    "BackendUnavailableError",
    "ConfigError",
    "DecodeError",
    "ExporterError",
    "NothingStoredError",
    "OtherBackendError",
    "PermanentError",
    "QueryError",
    "QueueFullError",
    "ReceiverError",
    "RecordRefusedError",
    "RetryableError",
    "RowRefusedError",
    "ShuttingDownError",
]


class ExporterError(Exception):
    """Base of every error that this package raises on purpose; any other exception is a bug."""

    retryable: ClassVar[bool] = False


class RetryableError(ExporterError):
    """The same call may succeed later without any change to what it was given."""

    retryable = True


class PermanentError(ExporterError):
    """The same call will fail again until somebody changes something."""


class DecodeError(PermanentError):
    """The bytes are not the OTLP message that they should be."""


class ConfigError(PermanentError):
    """The configuration is wrong; the message names the file, the key and what is allowed."""


class RecordRefusedError(PermanentError):
    """What a program gave cannot be stored as it is; the message says what is wrong with it."""


class QueryError(PermanentError):
    """The question cannot be answered as it was put; the message says what can be asked."""


class ReceiverError(PermanentError):
    """The receiver cannot listen where it was told to."""


class BackendUnavailableError(RetryableError):
    """The backend cannot take data now: locked, full, unreachable or restarting."""


class BackendRefusedError(PermanentError):
    """The backend will not take this: missing rights, foreign file, newer schema, bad value."""


class OtherBackendError(BackendRefusedError):
    """The database is well, and its tables are those of another backend, which `backend` names."""

    def __init__(self, message: str, backend: str) -> None:
        super().__init__(message)
        self.backend = backend


class RowRefusedError(BackendRefusedError):
    """The backend will not take the content of a row; the batch without that row may be stored."""


class NothingStoredError(BackendRefusedError):
    """There is nothing to read yet: the database can be reached and has no schema of ours."""


class QueueFullError(RetryableError):
    """The buffer before the backend is full, because the backend is slower than the senders."""


class ShuttingDownError(RetryableError):
    """The pipeline is stopping and takes nothing new."""
