"""A TCP proxy before a PostgreSQL server that breaks a connection at a COMMIT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum, auto
from typing import Final
from urllib.parse import urlsplit, urlunsplit

_COMMIT: Final = b"COMMIT\0"
_LEDGER: Final = b"INSERT INTO ingest_ledger"
_CHUNK_BYTES: Final = 1 << 16


class Break(Enum):
    """When the connection of the next COMMIT breaks; the client sees only that it broke."""

    BEFORE = auto()  # the server never receives it
    AFTER = auto()  # the server commits, and the reply is lost
    LATE = auto()  # the server receives it when the client's next connection uses the ledger


class Proxy:
    """Forwards bytes between clients and one server; `next_commit` says when to break."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._held: socket.socket | None = None
        self.next_commit: Break | None = None
        self.port: int = self._listener.getsockname()[1]
        self._begin(self._accept)

    def close(self) -> None:
        """Break every connection."""
        for one in self._sockets:
            _break(one)
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def _begin(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sockets += [client, server]
                self._begin(self._forward_requests, client, server)
                self._begin(self._forward_replies, server, client)

    def _forward_requests(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := client.recv(_CHUNK_BYTES):
                if _COMMIT in data and self.next_commit is not None:
                    self._break_at_commit(data, client, server)
                    return
                server.sendall(data)
                if _LEDGER in data and self._held is not None:
                    held, self._held = self._held, None
                    held.sendall(b"Q\0\0\0\x0b" + _COMMIT)
            _break(server)

    def _break_at_commit(self, data: bytes, client: socket.socket, server: socket.socket) -> None:
        how, self.next_commit = self.next_commit, None
        if how is Break.LATE:
            self._held = server
        elif how is Break.AFTER:
            # The thread of the replies must not forward this reply.
            _break(client)
            server.sendall(data)
        else:
            _break(server)
        _break(client)

    def _forward_replies(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(_CHUNK_BYTES):
                client.sendall(data)
        _break(client)


@contextmanager
def proxied(dsn: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server of a URL, and the URL of the proxy."""
    parts = urlsplit(dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    proxy = Proxy((parts.hostname, parts.port))
    address = parts.netloc.replace(f":{parts.port}", f":{proxy.port}").replace(
        parts.hostname, "127.0.0.1"
    )
    try:
        yield proxy, urlunsplit(parts._replace(netloc=address, query="sslmode=disable"))
    finally:
        proxy.close()


def _break(one: socket.socket) -> None:
    with suppress(OSError):  # it is broken already
        one.shutdown(socket.SHUT_RDWR)
