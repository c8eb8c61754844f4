"""Runs reads on pooled connections; a read outlives a restart of the server."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

import psycopg2

from exporter.backends.postgresql.connection import Connection
from exporter.backends.reader_pool import ReaderPool

_T = TypeVar("_T")

_CANCEL_TIMEOUT_SECONDS: Final = 5.0


class PostgreSQLReaderPool(ReaderPool[Connection]):
    """Runs each read on one connection of the pool.

    Args:
        connect: opens a connection.
        location: the backend and where its database is, for messages.
        max_connections: how many reads run at once; others wait.
        timeout_seconds: how long they wait.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        location: str,
        *,
        max_connections: int,
        timeout_seconds: float,
    ) -> None:
        super().__init__(
            connect,
            _end_read,
            location,
            max_open=max_connections,
            timeout_seconds=timeout_seconds,
        )

    def run(self, read: Callable[[Connection], _T]) -> _T:
        """The result of `read`, given a connection.

        A restart of the server breaks all idle connections, which is noticed only at the next read.
        That read is repeated once on a new connection.

        Raises:
            BackendUnavailableError: no connection became free in time, or the pool is closed.
            psycopg2.Error: what `read` raises, or a connection cannot be opened.
        """
        while True:
            connection, fresh = self.take()
            try:
                return read(connection)
            except psycopg2.Error as error:
                if self.is_closed:
                    raise self.closed_error() from error
                if fresh or not connection.closed:
                    raise
                self.close_idle()
            finally:
                self.give_back(connection, reuse=not connection.closed)


def _end_read(connection: Connection, seconds: float) -> None:
    with suppress(psycopg2.Error, OSError):  # the read ended meanwhile
        if seconds < _CANCEL_TIMEOUT_SECONDS:
            connection.cancel()
        else:
            # The server does not answer: shut the socket down, which wakes the waiting thread.
            with socket.socket(fileno=os.dup(connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
