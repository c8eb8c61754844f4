"""Asks a receiver for its health, as the command `health` and the probes of containers do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from exporter.errors import ReceiverError
from exporter.receiver.health import HEALTH_SERVICE
from exporter.receiver.tls import Certificates

__all__ = ["ask_health", "reachable"]

# Where a receiver on every interface can be reached from its own machine.
_THIS_MACHINE: Final = {"0.0.0.0": "127.0.0.1", "[::]": "localhost", "": "localhost"}  # noqa: S104


def reachable(endpoint: str) -> str:
    """The address at which a program on this machine reaches what listens on an endpoint.

    >>> reachable("0.0.0.0:4317"), reachable("[::]:4317"), reachable("10.0.0.7:4317")
    ('127.0.0.1:4317', 'localhost:4317', '10.0.0.7:4317')
    """
    host, _, port = endpoint.rpartition(":")
    is_path = endpoint.startswith("unix:")
    return endpoint if is_path else f"{_THIS_MACHINE.get(host, host)}:{port}"


def ask_health(
    address: str,
    *,
    timeout_seconds: float,
    tls: Certificates | None = None,
    client_files: tuple[Path, Path] | None = None,
) -> bool:
    """Whether the receiver would take a request now.

    Args:
        address: host:port, or unix:///path.
        timeout_seconds: how long it may take to answer.
        tls: the receiver's own files, None for plain text.
        client_files: certificate and key to show where it asks for them; None shows its own.

    Raises:
        ReceiverError: it does not answer, or a file cannot be used.
    """
    # A proxy of the environment is not meant for this machine.
    options: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", 0)]
    if tls is None:
        channel = grpc.insecure_channel(address, options)
    else:
        credentials, name = tls.channel_credentials(client_files)
        options.append(("grpc.ssl_target_name_override", name))
        channel = grpc.secure_channel(address, credentials, options)
    request = HealthCheckRequest().SerializeToString()
    with channel:
        check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            f"/{HEALTH_SERVICE}/Check"
        )
        try:
            answer = check(request, timeout=timeout_seconds)
        except grpc.RpcError as exc:
            raise ReceiverError(_silent(address, exc)) from exc
    status = HealthCheckResponse.FromString(answer).status
    return status == HealthCheckResponse.SERVING


def _silent(address: str, exc: grpc.RpcError) -> str:
    found = f"{exc.code().name}: {exc.details()}" if isinstance(exc, grpc.Call) else str(exc)
    return (
        f"the receiver at {address} does not say how it is: {found}; see whether `serve` "
        "runs, with the endpoint and the TLS files that are given here"
    )
