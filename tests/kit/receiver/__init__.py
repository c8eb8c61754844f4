"""Receivers over real channels, and certificates issued for one test."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from exporter.receiver import Receiver
from exporter.wire import Rejections

METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
LOGS = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"

# Without it, channels of one process share a connection, and with it a completed handshake.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Submitted:
    """A `submit` that records every request."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []

    def __call__(self, data: bytes) -> Rejections:
        self.requests.append(data)
        return Rejections()


class Blocked:
    """A `submit` that does not return before `go` is set."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)

    def __call__(self, _data: bytes) -> Rejections:
        self.inside.release()
        self.go.wait(20)
        return Rejections()


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def serving(receiver: Receiver) -> Iterator[str]:
    """Run a receiver; gives its address."""
    address = receiver.start()
    try:
        yield address
    finally:
        receiver.shutdown()


def send(channel: grpc.Channel, data: bytes = b"", method: str = METRICS, **call: Any) -> bytes:
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method)
    return stub(data, timeout=20, **call)


def begin(channel: grpc.Channel, data: bytes = b"", **call: Any) -> Any:
    """Send a request without waiting; its `code()` waits for the reply."""
    stub: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METRICS)
    return stub.future(data, **{"timeout": 20, **call})


def refused(channel: grpc.Channel, data: bytes = b"", method: str = METRICS, **call: Any) -> Any:
    """Send a request that must be refused; returns the failed call."""
    with pytest.raises(grpc.RpcError) as caught:
        send(channel, data, method, **call)
    assert isinstance(caught.value, grpc.Call)
    return caught.value


@dataclass(frozen=True)
class Files:
    """A certificate and its key on disk."""

    cert_file: Path
    key_file: Path


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._authority = trustme.CA(organization_name=name)
        self.pem = self._authority.cert_pem.bytes()
        self.file = folder / f"{name}-ca.pem"
        self.file.write_bytes(self.pem)

    def issue(self, name: str, *identities: str, days: float = 1.0) -> Files:
        """A certificate that is valid for `days` from now; expired if negative."""
        issued = self._authority.issue_cert(
            *(identities or ("localhost", "127.0.0.1")),
            not_after=datetime.now(UTC) + timedelta(days=days),
        )
        files = Files(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        files.cert_file.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
        files.key_file.write_bytes(issued.private_key_pem.bytes())
        return files


def expired_authority(path: Path) -> None:
    """Write the certificate of an authority that expired an hour ago."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def encrypted(
    address: str, authority: Authority, client: Files | None = None, *, name: str = ""
) -> Iterator[grpc.Channel]:
    """A channel that trusts one authority, with a client certificate if one is given.

    `name` is expected in the certificate instead of the address.
    """
    options = [*OWN_CONNECTION, *([("grpc.ssl_target_name_override", name)] if name else [])]
    credentials = grpc.ssl_channel_credentials(
        authority.pem,
        client.key_file.read_bytes() if client else None,
        client.cert_file.read_bytes() if client else None,
    )
    with grpc.secure_channel(address, credentials, options) as channel:
        yield channel


@contextmanager
def plain(address: str) -> Iterator[grpc.Channel]:
    """A channel without TLS."""
    with grpc.insecure_channel(address, OWN_CONNECTION) as channel:
        yield channel
