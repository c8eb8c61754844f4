"""`demo`: the whole way in ten seconds, from a real SDK to a table."""

from __future__ import annotations

import socket
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from exporter import config
from exporter.cli import logs, output
from exporter.cli.demo_report import DEFAULT_FILE, Report, show
from exporter.cli.options import connection_string
from exporter.cli.service import Service
from exporter.cli.stopping import StopRequest
from exporter.demo import INTERVAL_SECONDS, Sender, read_back
from exporter.query import Reader

__all__ = ["demo"]

# An address and not a name: of a name's several addresses another program may hold one.
_ADDRESS: Final = ("127.0.0.1", 4317)
_STOP_SECONDS: Final = 10.0
_PROGRESS_SECONDS: Final = 0.1
# The file may be one that a receiver fills as well, so the demo deletes nothing from it.
_RETENTION_DAYS: Final = 36_500


def demo(
    seconds: Annotated[
        int, typer.Option("--seconds", min=2, max=3600, metavar="NUMBER", help="How long to send.")
    ] = 10,
    db: Annotated[
        Path, typer.Option("--db", metavar="PATH", help="SQLite file to add to, or to create.")
    ] = DEFAULT_FILE,
) -> None:
    """Send this machine's own metrics to a receiver, store them, and read them back.

    Receiver, OpenTelemetry SDK and file are real. Configuration files and OPENFINOPS_* variables
    have no say here. Ctrl-C ends the sending early.

    For example:

        openfinops-exporter demo

        openfinops-exporter demo --seconds 60 --db /tmp/demo.db
    """
    overrides = {
        "backend": "sqlite",
        "connection_string": connection_string(str(db)),
        "batch_interval_seconds": INTERVAL_SECONDS,
        "retention_days": _RETENTION_DAYS,
    }
    settings = config.load(None, {}, overrides=overrides)
    logs.configure("WARNING")
    with StopRequest() as stop:
        report = _run(Service(settings), stop, seconds)
    show(report, db)


def _run(service: Service, stop: StopRequest, seconds: int) -> Report:
    try:
        service.start_storing()
        service.pipeline.require_backend()  # what was sent is to be read back
        sender = Sender(_listen(service))
        began = time.time()
        try:
            sender.start()
            _wait(service, stop, seconds)
        finally:
            sender.stop(_STOP_SECONDS)
        reader = Reader(service.backend, lambda: service.pipeline.flush(_STOP_SECONDS))
        lines = read_back(reader, began, time.time())
        return Report(sender.points_sent, service.stats(), service.backend.location, tuple(lines))
    finally:
        service.stop(_STOP_SECONDS)


def _listen(service: Service) -> str:
    is_taken = _is_taken(_ADDRESS)
    address = service.listen(f"{_ADDRESS[0]}:{0 if is_taken else _ADDRESS[1]}")
    remark = f", because port {_ADDRESS[1]} is taken" if is_taken else ""
    sdk = version("opentelemetry-sdk")
    output.print_note(f"Receiver  OTLP/gRPC on {address}{remark}")
    output.print_note(f"Storage   SQLite file {service.backend.location}")
    output.print_note(f"Sender    OpenTelemetry SDK {sdk} with the metrics of this machine")
    return address


def _is_taken(address: tuple[str, int]) -> bool:
    """Whether another program listens there; gRPC, asked in vain, would log lines of its own."""
    with socket.socket() as probe:
        # As gRPC does, so that a connection that has just ended is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


def _wait(service: Service, stop: StopRequest, seconds: int) -> None:
    """Until the time is up or somebody says stop; on a terminal with a bar that fills."""
    stderr = output.console(sys.stderr)
    if not stderr.is_terminal:
        output.print_note(f"Sending   for {seconds} s ...")
        stop.wait(seconds)
        return
    began = time.monotonic()
    with _progress(stderr) as progress:
        task = progress.add_task("", total=seconds, stored=0)
        while not progress.finished and not stop.wait(_PROGRESS_SECONDS):
            done = time.monotonic() - began
            progress.update(task, completed=done, stored=service.stats().points_stored)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("Sending  "),
        BarColumn(),
        TextColumn(
            "{task.completed:.0f} of {task.total:.0f} s, {task.fields[stored]} points stored"
        ),
        console=console,
        transient=True,
    )
