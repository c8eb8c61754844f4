"""`demo`: the whole path in ten seconds, from a real SDK to a table, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from exporter import config
from exporter.cli import output
from exporter.cli.receiver_service import Service, StopSignal
from exporter.cli.store import connection_string, load_settings
from exporter.demo import INTERVAL_SECONDS, MetricTrend, Sender, read_trends
from exporter.errors import ConfigError, ExporterError
from exporter.query import Reader
from exporter.render import format_quantity
from exporter.stats import Snapshot

_DEFAULT_FILE: Final = Path("openfinops_telemetry.db")
# An address and not a name: another program may hold one of a name's several addresses.
_ADDRESS: Final = ("127.0.0.1", 4317)
_STOP_TIMEOUT_SECONDS: Final = 10.0
_PROGRESS_INTERVAL_SECONDS: Final = 0.1
# A receiver may write to the same file, so the demo must delete nothing from it.
_RETENTION_DAYS: Final = 36_500

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
# A change below this share of the largest value is noise and drawn as a flat line.
_NOISE: Final = 0.01
# A narrower terminal gets a table without the columns POINTS and MIN.
_WIDE_COLUMNS: Final = 106
_TREND_COLUMNS: Final = 10
_SQL: Final = (
    "SELECT time, metric_name, value, unit FROM metric_samples ORDER BY timestamp DESC LIMIT 10"
)


@dataclass(frozen=True, slots=True)
class _Report:
    """The result of the demo.

    Attributes:
        points_sent: data points that the receiver acknowledged.
        stats: counters of the pipeline after its last write.
        location: of the file.
        trends: the metrics that were read back.
    """

    points_sent: int
    stats: Snapshot
    location: str
    trends: tuple[MetricTrend, ...]


def demo(
    seconds: Annotated[
        int, typer.Option("--seconds", min=2, max=3600, metavar="NUMBER", help="How long to send.")
    ] = 10,
    db: Annotated[
        Path, typer.Option("--db", metavar="PATH", help="SQLite file to add to, or to create.")
    ] = _DEFAULT_FILE,
) -> None:
    """Send this machine's own metrics to a receiver, store them, and read them back.

    Receiver, OpenTelemetry SDK and file are real. Configuration files and OPENFINOPS_* variables
    are ignored. Ctrl-C ends the sending early.

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
    output.configure_logging("WARNING")
    with StopSignal() as stop:
        report = _run(Service(settings), stop, seconds)
    _print_report(report, db)


def _run(service: Service, stop: StopSignal, seconds: int) -> _Report:
    try:
        service.pipeline.start()
        service.pipeline.require_backend()  # the demo reads back what it sent
        sender = Sender(_listen(service))
        start_time = time.time()
        try:
            sender.start()
            _wait(service, stop, seconds)
        finally:
            sender.stop(_STOP_TIMEOUT_SECONDS)
        reader = Reader(service.backend, lambda: service.pipeline.flush(_STOP_TIMEOUT_SECONDS))
        trends = tuple(read_trends(reader, start_time, time.time()))
        return _Report(
            sender.points_sent, service.pipeline.stats(), service.backend.location, trends
        )
    finally:
        service.stop(_STOP_TIMEOUT_SECONDS)


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
    """Whether another program listens there; gRPC would write its own log lines about it."""
    with socket.socket() as probe:
        # As gRPC does, so that a connection that has just ended does not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


def _wait(service: Service, stop: StopSignal, seconds: int) -> None:
    """Wait until the time is over or a signal comes; on a terminal with a progress bar."""
    stderr = output.console(sys.stderr)
    if not stderr.is_terminal:
        output.print_note(f"Sending   for {seconds} s ...")
        stop.wait(seconds)
        return
    start = time.monotonic()
    with _progress(stderr) as progress:
        task = progress.add_task("", total=seconds, stored=0)
        while not progress.finished and not stop.wait(_PROGRESS_INTERVAL_SECONDS):
            elapsed = time.monotonic() - start
            progress.update(task, completed=elapsed, stored=service.pipeline.stats().points_stored)


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


def _print_report(report: _Report, db: Path) -> None:
    """Show the report on stdout.

    Raises:
        ExporterError: nothing could be read back.
    """
    if not report.trends:
        raise ExporterError(
            f"demo: {report.points_sent} data points were sent, and none could be read back from "
            f"{report.location}; is the SDK switched off (OTEL_SDK_DISABLED), or was the demo "
            "stopped in its first second?"
        )
    columns = output.console(sys.stdout).width
    stored = f"{report.points_sent} data points sent, {report.stats.points_stored} stored"
    result = Text.assemble(
        (stored, "bold green"), " and read back from\n", (report.location, "bold"), "\n"
    )
    advice = [
        Text(f"  {purpose}:\n    {command}\n") for purpose, command in _next_commands(db).items()
    ]
    output.print_rich(
        Text(),
        _table(report.trends, wide=columns >= _WIDE_COLUMNS),
        Text(),
        result,
        Text("Try next:\n"),
        *advice,
    )


def _next_commands(db: Path) -> dict[str, str]:
    """Shell commands for the next steps, by purpose."""
    program, option = _program(), _db_option(db)
    cpu = "--metric system.cpu.utilization --since 5m --bucket 10s --agg avg --group-by cpu.mode"
    variables = "OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317"
    return {
        "The CPU in steps of ten seconds": f"{program} query metrics{option} {cpu}",
        "All stored metrics": f"{program} query list{option}",
        "Plain SQL, with any client": f'{_sqlite_client(db)} "{_SQL}"',
        "Receive from your own programs": f"{program} serve{option}",
        "Tell a program with an OpenTelemetry SDK where to send": f"export {variables}",
    }


def _program() -> str:
    """How this program was started; its script may not be on the PATH."""
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0])} -m exporter"
    return "openfinops-exporter"


def _db_option(db: Path) -> str:
    """The option by which other commands find the file; empty if it is their default."""
    try:
        default = load_settings(None, db=None).exporter
    except ConfigError:
        default = None
    if default is not None and default.connection_string == connection_string(str(db)):
        return ""
    return f" --db {shlex.quote(str(db))}"


def _sqlite_client(db: Path) -> str:
    file = shlex.quote(str(db))
    if shutil.which("sqlite3"):
        return f"sqlite3 -header -column {file}"
    script = (
        "import sqlite3, sys; "
        "print(*sqlite3.connect(sys.argv[1]).execute(sys.argv[2]), sep=chr(10))"
    )
    return f'{shlex.quote(sys.orig_argv[0])} -c "{script}" {file}'


def _table(trends: tuple[MetricTrend, ...], *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    columns = _columns(wide=wide)
    table.add_column("METRIC", no_wrap=True)
    for header in columns:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column(
        "TREND", style="green", no_wrap=True, min_width=_TREND_COLUMNS if wide else None
    )
    previous = ""
    for trend in trends:
        style = "dim" if trend.metric_name == previous else "cyan"
        previous = trend.metric_name
        name = Text(trend.metric_name, style=style).append(f" {trend.label}", style="not dim")
        cells = (Text(cell(trend)) for cell in columns.values())
        table.add_row(name, *cells, sparkline(trend.values))
    return table


def _columns(*, wide: bool) -> dict[str, Callable[[MetricTrend], str]]:
    columns: dict[str, Callable[[MetricTrend], str]] = {
        "LAST": lambda trend: _formatted(trend.values[-1], trend),
        "MEAN": lambda trend: _formatted(trend.mean, trend),
        "MAX": lambda trend: _formatted(max(trend.values), trend),
    }
    if not wide:
        return columns
    return {
        "POINTS": lambda trend: str(trend.points),
        "MIN": lambda trend: _formatted(min(trend.values), trend),
        **columns,
    }


def _formatted(value: float, trend: MetricTrend) -> str:
    # A unit such as {process} repeats the name of the metric. Of the demo's metrics exactly those
    # with the unit 1 are ratios.
    unit = "" if trend.unit.startswith("{") else trend.unit
    return format_quantity(value, unit, is_ratio=unit == "1")


def sparkline(values: Sequence[float]) -> str:
    """A line of blocks from the smallest to the largest value; flat if the values hardly change.

    >>> sparkline([0, 1, 2, 3]), sparkline([1000, 1001, 1000])
    ('▁▃▆█', '▁▁▁')
    """
    smallest, largest = min(values), max(values)
    if largest - smallest <= _NOISE * max(abs(smallest), abs(largest)):
        return _BLOCKS[0] * len(values)
    steps = (len(_BLOCKS) - 1) / (largest - smallest)
    return "".join(_BLOCKS[round((value - smallest) * steps)] for value in values)
