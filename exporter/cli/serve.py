"""`serve`: receives and stores until a signal stops it."""

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

from exporter.cli import output
from exporter.cli.options import BackendOption, ConfigOption, DbOption
from exporter.cli.receiver_service import Service, StopSignal
from exporter.cli.stats import status_path, write_status
from exporter.cli.store import load_settings
from exporter.config import ReceiverSettings, Settings
from exporter.errors import ExporterError
from exporter.stats import Snapshot

_log = logging.getLogger(__name__)

_LOG_INTERVAL_SECONDS: Final = 60.0
_STATUS_INTERVAL_SECONDS: Final = 5.0
_FAILED_START_TIMEOUT_SECONDS: Final = 5.0
_DEFAULT_FILE: Final = Path("otel-config.yaml")


def serve(
    config: ConfigOption = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            metavar="HOST:PORT",
            help="Where to listen. Port 0 uses a free port and logs it.",
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

    The first signal writes the accepted data and exits; a second signal exits at once.

    For example:

        openfinops-exporter serve

        openfinops-exporter serve --config otel-config.yaml

        openfinops-exporter serve --endpoint 0.0.0.0:4317 --db /var/lib/metrics.db
    """
    with StopSignal() as stop:
        settings = load_settings(
            config, db=db, endpoint=endpoint, backend=backend, log_level=log_level
        )
        output.configure_logging(settings.log_level)
        # Inside `with`: a signal during the start must stop the program in order as well.
        code = _run(Service(settings), stop, has_config=config is not None)
        if code is not None:
            # Threads that hang in the database would block an orderly exit.
            logging.shutdown()
            os._exit(code)


def _run(service: Service, stop: StopSignal, *, has_config: bool) -> int | None:
    """None if all accepted data is stored, else the code to exit with at once."""
    _log_configuration(service, has_config=has_config)
    try:
        service.pipeline.start()
        # Objects that exist by now are never freed. Scanning them in each garbage collection made
        # it take twice as long: 60 to 90 ms with 500 senders, during which no request is answered.
        gc.collect()
        gc.freeze()
        if not stop.requested:
            _listen(service)
            service.orphan_replayer.start()
            report_counters(
                stop.wait, service.pipeline.stats, _LOG_INTERVAL_SECONDS, _status_writer(service)
            )
    except ExporterError:
        service.stop(_FAILED_START_TIMEOUT_SECONDS)
        raise
    return _stop(service, stop.reason)


def _log_configuration(service: Service, *, has_config: bool) -> None:
    settings = service.settings
    _log.info("keeping data in %s (configuration: %s)", service.location, _sources(settings))
    if service.spool is None and settings.exporter.backend != "memory":
        _log.warning(
            "the spool is off: acknowledged data that is not yet stored, up to "
            "batch_interval_seconds (%g s) of it, is lost if this process is killed",
            settings.exporter.batch_interval_seconds,
        )
    for warning in settings.warnings:
        _log.warning("%s", warning)
    if not has_config and _DEFAULT_FILE.exists():
        _log.info(
            "%s in this folder is not read; to use it: serve --config %s",
            _DEFAULT_FILE,
            _DEFAULT_FILE,
        )


def _sources(settings: Settings) -> str:
    """The file, variables and flags that set a value."""
    file = settings.source
    others = {origin for origin in settings.origins.values() if not origin.startswith(f"{file}:")}
    return ", ".join([file, *sorted(others)])


def _listen(service: Service) -> None:
    address = service.listen()
    _log.info("listening for OTLP/gRPC on %s, storing into %s", address, service.location)
    if not service.settings.receiver.takes_metrics:
        _log.info("the only pipeline is for logs: cost events are accepted, metrics are refused")
    exposure = exposure_of(service.settings.receiver)
    if exposure is not None:
        _log.warning("%s can be reached from other machines, and %s", address, exposure)


def exposure_of(settings: ReceiverSettings) -> str | None:
    """Why an endpoint that other machines can reach is insecure; None if it is secure."""
    if is_loopback(settings.endpoint):
        return None
    tls, tokens = settings.tls, settings.tokens
    if tokens is not None:
        return None if tls is not None else "tokens and data are sent as plain text: add tls"
    if tls is None:
        return (
            "each of them can send data and read the traffic: add tls and auth "
            "(docs/security.md), or use a trusted network only"
        )
    if tls.client_ca_file is None:
        return "each of them can send data: add auth, or client_ca_file to tls (docs/security.md)"
    return None


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach an endpoint (host:port, or unix:...).

    Any name except localhost is assumed to be reachable from other machines.
    """
    if endpoint.startswith("unix:"):
        return True
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def report_counters(
    wait: Callable[[float], bool],
    stats: Callable[[], Snapshot],
    log_interval_seconds: float,
    publish: Callable[[Snapshot], None],
) -> None:
    """Log the counters in each interval in which they changed, until `wait` returns true.

    Args:
        wait: waits for this many seconds; returns whether to stop.
        stats: the counters now.
        log_interval_seconds: time between two log lines.
        publish: called with the counters every 5 s, and at the start.
    """
    logged = stats()
    publish(logged)
    seconds_to_log = log_interval_seconds
    while not wait(step_seconds := min(_STATUS_INTERVAL_SECONDS, seconds_to_log)):
        now = stats()
        publish(now)
        seconds_to_log -= step_seconds
        if seconds_to_log <= 0:
            seconds_to_log = log_interval_seconds
            if now != logged:
                _log.info("%s", now)
                logged = now


def _status_writer(service: Service) -> Callable[[Snapshot], None]:
    """Writes the status file for `stats`; does nothing without a spool."""
    if service.spool is None:
        return lambda _: None
    path = status_path(service.spool.path)
    return lambda now: write_status(path, now, time.time())


def _stop(service: Service, reason: str) -> int | None:
    timeout_seconds = service.settings.exporter.shutdown_timeout_seconds
    _log.info("%s: stopping, at most %g s to write accepted data", reason, timeout_seconds)
    all_stored = service.stop(timeout_seconds)
    stats = service.pipeline.stats()
    _status_writer(service)(stats)
    if all_stored:
        _log.info("stopped: %s", str(stats) or "nothing was received")
        return None
    if service.spool is not None:
        _log.warning(
            "stopped: %s; %d data points wait in the spool %s and are stored at the next start",
            stats,
            stats.points_queued,
            service.spool.path,
        )
        return 0
    _log.error(
        "%d accepted data points could not be written to %s within %g s and are lost; check why "
        "the database blocks, raise exporters.openfinops.shutdown_timeout_seconds, or use the "
        "spool",
        stats.points_queued,
        service.location,
        timeout_seconds,
    )
    return 1
