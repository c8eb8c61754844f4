"""A client of the health service, for the command `health` and the probes of containers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from exporter.errors import ReceiverError
from exporter.receiver.health import HEALTH_SERVICE
from exporter.receiver.tls import Certificates

# Where a receiver that listens on all interfaces is reached from its own machine.
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "[::]": "localhost", "": "localhost"}  # noqa: S104


def local_address(endpoint: str) -> str:
    """Returns the address that a local client must use to reach an endpoint.

    >>> local_address("0.0.0.0:4317"), local_address("[::]:4317"), local_address("10.0.0.7:4317")
    ('127.0.0.1:4317', 'localhost:4317', '10.0.0.7:4317')
    """
    host, _, port = endpoint.rpartition(":")
    is_path = endpoint.startswith("unix:")
    return endpoint if is_path else f"{_LOOPBACK.get(host, host)}:{port}"


def check_health(
    address: str,
    *,
    timeout_seconds: float,
    tls: Certificates | None = None,
    client_files: tuple[Path, Path] | None = None,
) -> bool:
    """Ask a receiver whether it would take a request now.

    Args:
        address: host:port, or unix:///path.
        timeout_seconds: how long the answer may take.
        tls: the receiver's own files, None for plain text.
        client_files: certificate and key of the client, if the receiver requires them; None for
            the receiver's own.

    Raises:
        ReceiverError: it does not answer, or a file cannot be used.
    """
    # The proxy in the environment is not meant for this machine.
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
            found = (
                f"{exc.code().name}: {exc.details()}" if isinstance(exc, grpc.Call) else str(exc)
            )
            raise ReceiverError(
                f"the receiver at {address} did not answer the health check: {found}; check that "
                "`serve` runs, with the endpoint and the TLS files that are given here"
            ) from exc
    return HealthCheckResponse.FromString(answer).status == HealthCheckResponse.SERVING
