"""`health`: asks a receiver whether it accepts requests, as a probe for containers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.cli import output
from exporter.cli.options import ConfigOption
from exporter.cli.receiver_service import certificates_for
from exporter.cli.store import load_settings
from exporter.errors import ConfigError
from exporter.receiver.probe import check_health, local_address


def health(
    config: ConfigOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="HOST:PORT",
            help="Where the receiver listens.",
            show_default="localhost:4317",
        ),
    ] = None,
    cert: Annotated[
        Path | None,
        typer.Option(
            "--cert",
            metavar="FILE",
            help="Client certificate, if the receiver requires one. Without it, the receiver's own "
            "certificate is used.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The key of that certificate.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Maximum time to wait."),
    ] = 3.0,
) -> None:
    """Ask a receiver on this machine whether it accepts requests.

    Exits with 0 if it does, and with 1 if it does not or does not answer. Use the configuration
    of `serve`, for the endpoint and the TLS files. No token is needed. Other clients of the
    gRPC health service get the same answer.

    For example:

        openfinops-exporter health

        openfinops-exporter health --config otel-config.yaml --timeout 1
    """
    if (cert is None) != (key is None):
        raise ConfigError("--cert and --key belong together; give both, or neither")
    receiver = load_settings(config, db=None, endpoint=endpoint).receiver
    address = local_address(receiver.endpoint)
    serving = check_health(
        address,
        timeout_seconds=timeout,
        tls=certificates_for(receiver),
        client_files=None if cert is None or key is None else (cert, key),
    )
    output.print_data([f"{address}: {'SERVING' if serving else 'NOT_SERVING'}\n"])
    if not serving:
        raise typer.Exit(1)
