"""HTTP/2 by hand: for what no gRPC library would send, over a plain socket.

Knows enough to begin a call, to keep within the peer's windows, and to find out what it was
answered: RFC 9113 for the frames, RFC 7541 for headers, which are sent uncompressed. Of the answer
only `grpc-status` is read, as text, which works because servers do not compress it either.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = [
    "DATA",
    "END_HEADERS",
    "END_STREAM",
    "HEADERS",
    "PING",
    "PREFACE",
    "RST_STREAM",
    "SETTINGS",
    "Connection",
    "connected",
    "frame",
    "header_block",
    "message",
]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
_ACK: Final = 0x1
_FRAME_HEADER_BYTES: Final = 9
_MOST_FRAME_BYTES: Final = 16_384
_WINDOW_BYTES: Final = 65_535
_INITIAL_WINDOW_SIZE: Final = 4
_STATUS: Final = re.compile(rb"grpc-status[\x00-\x04](\d{1,2})")
_EXPORT: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + _number(stream) + payload


def header_block(*changes: tuple[str, str]) -> bytes:
    """The headers of an export, with others added or in their place."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": _EXPORT,
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    } | dict(changes)
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers.items())


def message(body: bytes, *, compressed: bool = False) -> bytes:
    """A message as gRPC frames it."""
    return bytes([compressed]) + _number(len(body)) + body


def _number(number: int) -> bytes:
    return struct.pack(">I", number)


def _text(text: str) -> bytes:
    encoded, prefix = text.encode(), b""
    left = len(encoded)
    if left >= 127:
        prefix, left = b"\x7f", left - 127
        while left >= 128:
            prefix, left = prefix + bytes([left & 0x7F | 0x80]), left >> 7
    return prefix + bytes([left]) + encoded


def _window_in(settings: bytes) -> int:
    """What a SETTINGS frame says a stream's window is at its beginning."""
    pairs = struct.iter_unpack(">HI", settings)
    return next((value for name, value in pairs if name == _INITIAL_WINDOW_SIZE), _WINDOW_BYTES)


class Connection:
    """One connection, over which at most one call is looked at."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._arrived = b""
        self._stream_window = self._window = _WINDOW_BYTES
        self._answer: str | None = None

    def begin(self) -> None:
        """Say hello."""
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data: bytes) -> None:
        """Send bytes as they are; a peer that has hung up does not hear them."""
        try:
            self._peer.sendall(data)
        except OSError:
            self._answer = self._answer or "closed"

    def call(self, *headers: tuple[str, str], body: bytes = b"") -> str:
        """Send a request, and return what `answer` does."""
        self.begin()
        self.send(frame(HEADERS, END_HEADERS, 1, header_block(*headers)))
        self.send_body(body)
        return self.answer()

    def send_body(self, body: bytes) -> None:
        """Send a body and its end, within the windows, for as long as there is no answer."""
        while body and self._answer is None:
            size = min(len(body), self._window, self._stream_window, _MOST_FRAME_BYTES)
            if size <= 0:
                self._receive()
                continue
            part, body = body[:size], body[size:]
            self._window -= size
            self._stream_window -= size
            self.send(frame(DATA, 0, 1, part))
        if self._answer is None:
            self.send(frame(DATA, END_STREAM, 1))

    def answer(self) -> str:
        """The status of the call as a number, or "reset", "goaway", "closed"; "" for none."""
        while self._answer is None:
            self._receive()
        return self._answer

    def _receive(self) -> None:
        try:
            data = self._peer.recv(65_536)
        except TimeoutError:
            self._answer = ""
            return
        except OSError:
            data = b""
        if not data:
            self._answer = self._answer or "closed"
        self._arrived += data
        for kind, flags, stream, payload in self._frames():
            self._take(kind, flags, stream, payload)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        while len(self._arrived) >= _FRAME_HEADER_BYTES:
            end = _FRAME_HEADER_BYTES + int.from_bytes(self._arrived[:3], "big")
            if len(self._arrived) < end:
                return
            head, payload = self._arrived[:_FRAME_HEADER_BYTES], self._arrived[9:end]
            self._arrived = self._arrived[end:]
            yield head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & _ACK:
            self._stream_window += _window_in(payload) - _WINDOW_BYTES
            self.send(frame(SETTINGS, _ACK, 0))
        elif kind == PING and not flags & _ACK:
            self.send(frame(PING, _ACK, 0, payload))
        elif kind == WINDOW_UPDATE and stream:
            self._stream_window += int.from_bytes(payload, "big")
        elif kind == WINDOW_UPDATE:
            self._window += int.from_bytes(payload, "big")
        elif kind == HEADERS and (found := _STATUS.search(payload)):
            self._answer = found[1].decode()
        elif kind == HEADERS and flags & END_STREAM:
            self._answer = self._answer or "headers"
        elif kind in {RST_STREAM, GOAWAY}:
            self._answer = self._answer or ("reset" if kind == RST_STREAM else "goaway")


@contextmanager
def connected(address: str, timeout_seconds: float = 20.0) -> Iterator[Connection]:
    """A connection on which nothing was sent yet."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout_seconds) as peer:
        yield Connection(peer)
