"""All error classes.

The reply to the client depends only on whether the error is retryable or permanent.

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
    """Base of every error that this package raises on purpose; any other exception is a bug.

    Attributes:
        retryable: whether the same call may succeed later.
    """

    retryable: ClassVar[bool] = False


class RetryableError(ExporterError):
    """The same call may succeed later with the same arguments."""

    retryable = True


class PermanentError(ExporterError):
    """The same call fails again until the input, the configuration or the system changes."""


class DecodeError(PermanentError):
    """The bytes are not the expected OTLP message."""


class ConfigError(PermanentError):
    """The configuration is wrong; the message names the file, the key and what is allowed."""


class RecordRefusedError(PermanentError):
    """A record given by a program cannot be stored; the message says what is wrong with it."""


class QueryError(PermanentError):
    """A query cannot be answered as it was given; the message says which queries can."""


class ReceiverError(PermanentError):
    """The receiver cannot listen on the configured address."""


class BackendUnavailableError(RetryableError):
    """The backend cannot take data now: locked, full, unreachable or restarting."""


class BackendRefusedError(PermanentError):
    """The backend refuses for good: missing rights, foreign file, newer schema, bad value."""


class OtherBackendError(BackendRefusedError):
    """The tables in the database belong to another backend.

    Attributes:
        backend: the name of that backend.
    """

    def __init__(self, message: str, backend: str) -> None:
        super().__init__(message)
        self.backend = backend


class RowRefusedError(BackendRefusedError):
    """The backend refuses the content of a row; the batch without that row may be stored."""


class NothingStoredError(BackendRefusedError):
    """The database can be reached, and no schema has been created in it yet."""


class QueueFullError(RetryableError):
    """The queue is full, because the backend is slower than the senders."""


class ShuttingDownError(RetryableError):
    """The pipeline is stopping and takes no new requests."""
