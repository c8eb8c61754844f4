"""Checks that every address of an endpoint is free; gRPC would listen on some of them only."""

from __future__ import annotations

import errno
import socket
from typing import Final

from exporter.errors import ReceiverError

# A machine without IPv6 still resolves localhost to ::1.
_NO_SUCH_ADDRESS: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def check_free(endpoint: str) -> None:
    """Check that every address of an endpoint is free.

    gRPC is content with one of the addresses that a name resolves to: with localhost it would
    take ::1 alone while another program has 127.0.0.1, and get none of the data sent there.

    Raises:
        ReceiverError: an address is taken, or does not belong to this machine.
    """
    host, _, port = endpoint.rpartition(":")
    if endpoint.startswith("unix:") or port == "0":
        return
    try:
        found = socket.getaddrinfo(
            host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as exc:
        raise listen_error(endpoint, str(exc)) from exc
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family is socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
        except OSError as exc:
            if exc.errno not in _NO_SUCH_ADDRESS or len(found) == 1:
                raise listen_error(endpoint, f"{address[0]}: {exc.strerror}") from exc


def listen_error(endpoint: str, reason: str) -> ReceiverError:
    """The error for an endpoint that cannot be listened on."""
    return ReceiverError(
        f"cannot listen for OTLP/gRPC on {endpoint}: {reason}; stop the other receiver or "
        "Collector on that port, or choose another endpoint (port 0 takes a free one)"
    )
