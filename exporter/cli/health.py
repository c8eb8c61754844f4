"""`health`: does the receiver take requests? For probes of containers, and for people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from exporter.cli import output
from exporter.cli.options import ConfigOption, certificates_for, load_settings
from exporter.errors import ConfigError
from exporter.receiver.probe import check_health, local_address

__all__ = ["health"]

_NOT_SERVING: Final = 1


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
            help="Certificate to show where the receiver wants one of its clients; without it the "
            "receiver's own.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The key of that certificate.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long it may take."),
    ] = 3.0,
) -> None:
    """Ask a receiver on this machine whether it takes requests.

    Exits with 0 if it does, and with 1 if not or if it does not answer. Give it the configuration
    that `serve` has, for the endpoint and the TLS files. No token is needed. Other clients of the
    gRPC health service get the same answer.

    For example:

        openfinops-exporter health

        openfinops-exporter health --config otel-config.yaml --timeout 1
    """
    receiving = load_settings(config, db=None, endpoint=endpoint).receiver
    address = local_address(receiving.endpoint)
    serving = check_health(
        address,
        timeout_seconds=timeout,
        tls=certificates_for(receiving),
        client_files=_pair(cert, key),
    )
    output.print_data([f"{address}: {'SERVING' if serving else 'NOT_SERVING'}\n"])
    if not serving:
        raise typer.Exit(_NOT_SERVING)


def _pair(cert: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if cert is not None and key is not None:
        return cert, key
    if cert is None and key is None:
        return None
    raise ConfigError("--cert and --key belong together; give both, or neither")
