"""A minimal HTTP/2 client over a plain socket, for frames that no gRPC library sends.

It starts a call, respects the windows of the peer and reads the status of the answer. Frames are
those of RFC 9113; headers are sent uncompressed (RFC 7541). Of the answer only `grpc-status` is
read, as text, because servers do not compress it either.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM: Final = 0x1
END_HEADERS: Final = 0x4
_ACK: Final = 0x1
_FRAME_HEADER_BYTES: Final = 9
_MAX_FRAME_BYTES: Final = 16_384
_WINDOW_BYTES: Final = 65_535
_INITIAL_WINDOW_SIZE: Final = 4
_STATUS: Final = re.compile(rb"grpc-status[\x00-\x04](\d{1,2})")
_EXPORT: Final = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + _number(stream) + payload


def header_block(*changes: tuple[str, str]) -> bytes:
    """The headers of an export call, with some added or replaced."""
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
    """A message in the framing of gRPC."""
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
    """The initial window of a stream in the payload of a SETTINGS frame."""
    pairs = struct.iter_unpack(">HI", settings)
    return next((value for name, value in pairs if name == _INITIAL_WINDOW_SIZE), _WINDOW_BYTES)


class Connection:
    """One connection with at most one call."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._received = b""
        self._stream_window = self._window = _WINDOW_BYTES
        self._answer: str | None = None

    def begin(self) -> None:
        """Send the connection preface."""
        self.send(PREFACE + frame(SETTINGS, 0, 0))

    def send(self, data: bytes) -> None:
        """Send bytes unchanged; ignored if the peer has closed the connection."""
        try:
            self._peer.sendall(data)
        except OSError:
            self._answer = self._answer or "closed"

    def call(self, *headers: tuple[str, str], body: bytes = b"") -> str:
        """Send a request, and return its answer; see `answer`."""
        self.begin()
        self.send(frame(HEADERS, END_HEADERS, 1, header_block(*headers)))
        self.send_body(body)
        return self.answer()

    def send_body(self, body: bytes) -> None:
        """Send a body and its end within the windows, until there is an answer."""
        while body and self._answer is None:
            size = min(len(body), self._window, self._stream_window, _MAX_FRAME_BYTES)
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
        """The status code of the call, or "reset", "goaway" or "closed"; "" after a timeout."""
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
        self._received += data
        for kind, flags, stream, payload in self._frames():
            self._handle(kind, flags, stream, payload)

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        while len(self._received) >= _FRAME_HEADER_BYTES:
            end = _FRAME_HEADER_BYTES + int.from_bytes(self._received[:3], "big")
            if len(self._received) < end:
                return
            head, payload = self._received[:_FRAME_HEADER_BYTES], self._received[9:end]
            self._received = self._received[end:]
            yield head[3], head[4], int.from_bytes(head[5:], "big"), payload

    def _handle(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
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
    """Open a connection; nothing is sent yet."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout_seconds) as peer:
        yield Connection(peer)
