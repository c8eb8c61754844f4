"""`serve`: receive until somebody says stop."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from exporter.cli import logs
from exporter.cli.options import BackendOption, ConfigOption, DbOption, load_settings
from exporter.cli.service import Service
from exporter.cli.status import status_path, write_status
from exporter.cli.stopping import StopRequest
from exporter.config import ReceiverSettings, Settings
from exporter.errors import ExporterError
from exporter.stats import Snapshot

__all__ = ["exposure_of", "is_loopback", "report_changes", "serve"]

_log = logging.getLogger(__name__)

_REPORT_INTERVAL_SECONDS: Final = 60.0
_PUBLISH_EVERY_SECONDS: Final = 5.0
_FAILED_START_SECONDS: Final = 5.0
_COLLECTOR_FILE: Final = Path("otel-config.yaml")


def serve(
    config: ConfigOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="HOST:PORT",
            help="Where to listen; port 0 takes a free one and says which.",
            show_default="localhost:4317",
        ),
    ] = None,
    backend: BackendOption = None,
    db: DbOption = None,
    log_level: Annotated[
        str | None,
        typer.Option(
            "--log-level",
            metavar="LEVEL",
            help="debug, info, warning or error.",
            show_default="info",
        ),
    ] = None,
) -> None:
    """Receive OTLP metrics and cost events over gRPC and store them, until SIGTERM or Ctrl-C.

    Stopping writes what was accepted before it exits; a second signal exits at once.

    For example:

        openfinops-exporter serve

        openfinops-exporter serve --config otel-config.yaml

        openfinops-exporter serve --endpoint 0.0.0.0:4317 --db /var/lib/metrics.db
    """
    with StopRequest() as stop:
        settings = load_settings(
            config, db=db, endpoint=endpoint, backend=backend, log_level=log_level
        )
        logs.configure(settings.log_level)
        code = _run(Service(settings), stop, config_given=config is not None)
        if code is not None:
            # Threads that are stuck in the database would hold up an orderly exit for ever.
            logging.shutdown()
            os._exit(code)


def _run(service: Service, stop: StopRequest, *, config_given: bool) -> int | None:
    """None where everything that was accepted is stored, else the code to exit with at once."""
    _tell_where(service, config_given=config_given)
    try:
        service.start_storing()
        # What is there by now stays. To look through it too took the collector of garbage twice
        # as long, 60 to 90 ms with 500 senders, in which nobody is answered.
        gc.collect()
        gc.freeze()
        if not stop.requested:
            _listen(service)
            service.start_orphan_replayer()
            publish = publisher_for(service)
            report_changes(stop.wait, service.stats, _REPORT_INTERVAL_SECONDS, publish)
    except ExporterError:
        service.stop(_FAILED_START_SECONDS)
        raise
    return _stop(service, stop.reason)


def _tell_where(service: Service, *, config_given: bool) -> None:
    settings = service.settings
    _log.info("keeping data in %s (configuration: %s)", service.place, _sources(settings))
    if service.spool is None and settings.exporter.backend != "memory":
        _log.warning(
            "the spool is off: what was acknowledged and is not yet stored, up to "
            "batch_interval_seconds (%g s) of it, is lost if this process is killed",
            settings.exporter.batch_interval_seconds,
        )
    for warning in settings.warnings:
        _log.warning("%s", warning)
    if not config_given and _COLLECTOR_FILE.exists():
        _log.info(
            "%s in this folder is not read; to use it: serve --config %s",
            _COLLECTOR_FILE,
            _COLLECTOR_FILE,
        )


def _sources(settings: Settings) -> str:
    """The file, variables and flags that had a say."""
    file = settings.source
    others = {origin for origin in settings.origins.values() if not origin.startswith(f"{file}:")}
    return ", ".join([file, *sorted(others)])


def _listen(service: Service) -> None:
    address = service.listen()
    _log.info("listening for OTLP/gRPC on %s, storing into %s", address, service.place)
    if not service.settings.receiver.takes_metrics:
        _log.info("the one pipeline is for logs: cost events are taken, and metrics refused")
    exposure = exposure_of(service.settings.receiver)
    if exposure is not None:
        _log.warning("%s can be reached from other machines, and %s", address, exposure)


def exposure_of(settings: ReceiverSettings) -> str | None:
    """What is insecure about an endpoint that other machines can reach; None where nothing is."""
    if is_loopback(settings.endpoint):
        return None
    tls, tokens = settings.tls, settings.tokens
    if tokens is not None:
        return (
            None if tls is not None else "tokens and data cross the network as plain text: add tls"
        )
    if tls is None:
        return (
            "every one of them can send and read along: add tls and auth (docs/security.md), or "
            "keep it in a network that you trust"
        )
    if tls.client_ca_file is None:
        return "every one of them can send: add auth, or client_ca_file to tls (docs/security.md)"
    return None


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint (host:port, or unix:...).

    A name other than localhost is taken for local_address, as it usually is.
    """
    if endpoint.startswith("unix:"):
        return True
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def report_changes(
    wait: Callable[[float], bool],
    stats: Callable[[], Snapshot],
    interval_seconds: float,
    publish: Callable[[Snapshot], None] = lambda _: None,
) -> None:
    """Log the counters at every interval in which they changed, until `wait` returns true.

    Args:
        wait: waits for so many seconds; whether to end.
        stats: the counters now.
        interval_seconds: between two lines.
        publish: given the counters more often, and at the end.
    """
    before = stats()
    publish(before)
    line_in_seconds = interval_seconds
    while not wait(step_seconds := min(_PUBLISH_EVERY_SECONDS, line_in_seconds)):
        now = stats()
        publish(now)
        line_in_seconds -= step_seconds
        if line_in_seconds <= 0:
            line_in_seconds = interval_seconds
            if now != before:
                _log.info("%s", now)
                before = now


def publisher_for(service: Service) -> Callable[[Snapshot], None]:
    """What makes the counters known to `stats`: nothing without a spool to put them beside."""
    if service.spool is None:
        return lambda _: None
    path = status_path(service.spool.path)
    return lambda now: write_status(path, now, time.time())


def _stop(service: Service, reason: str) -> int | None:
    timeout_seconds = service.settings.exporter.shutdown_timeout_seconds
    _log.info("%s: stopping, at most %g s for what is not yet written", reason, timeout_seconds)
    all_stored = service.stop(timeout_seconds)
    publisher_for(service)(service.stats())
    if all_stored:
        _log.info("stopped: %s", str(service.stats()) or "nothing was received")
        return None
    if service.spool is not None:
        _log.warning(
            "stopped: %s; %d data points wait in the spool %s and are stored at the next start",
            service.stats(),
            service.stats().points_queued,
            service.spool.path,
        )
        return 0
    _log.error(
        "%d accepted data points could not be written to %s within %g s and are lost; find out "
        "what blocks it, raise exporters.openfinops.shutdown_timeout_seconds, or let the spool on",
        service.stats().points_queued,
        service.place,
        timeout_seconds,
    )
    return 1
