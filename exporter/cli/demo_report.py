"""What the demo shows at its end: the numbers, and what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from exporter.cli import output
from exporter.cli.options import connection_string, load_settings
from exporter.demo import Line
from exporter.errors import ConfigError, ExporterError
from exporter.render import format_quantity
from exporter.stats import Snapshot

__all__ = ["DEFAULT_FILE", "Report", "next_commands", "show", "sparkline"]

DEFAULT_FILE: Final = Path("openfinops_telemetry.db")

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
# A change below this share of the largest value is noise, and drawn as a level.
_NOISE: Final = 0.01
# Narrower than this, the table does without the column of points.
_WIDE_COLUMNS: Final = 106
_TREND_COLUMNS: Final = 10
_SQL: Final = (
    "SELECT time, metric_name, value, unit FROM metric_samples ORDER BY timestamp DESC LIMIT 10"
)


@dataclass(frozen=True, slots=True)
class Report:
    """How the demo went.

    Attributes:
        points_sent: data points that the SDK delivered.
        stats: of the pipeline, after its last write.
        location: of the file.
        lines: what was read back.
    """

    points_sent: int
    stats: Snapshot
    location: str
    lines: tuple[Line, ...]


def show(report: Report, db: Path) -> None:
    """Show the report on stdout.

    Raises:
        ExporterError: there is nothing to show.
    """
    if not report.lines:
        raise ExporterError(
            f"demo: {report.points_sent} data points were sent, and none could be read back from "
            f"{report.location}; is the SDK switched off (OTEL_SDK_DISABLED), or was the demo "
            "stopped in its first second?"
        )
    columns = output.console(sys.stdout).width
    output.print_rich(
        Text(),
        _table(report.lines, wide=columns >= _WIDE_COLUMNS),
        Text(),
        _outcome(report),
        *(Text(f"{line}\n") for line in _advice(db)),
    )


def _outcome(report: Report) -> Text:
    stored = report.stats.points_stored
    return Text.assemble(
        (f"{report.points_sent} data points sent, {stored} stored", "bold green"),
        " and read back from\n",
        (report.location, "bold"),
        "\n",
    )


def _advice(db: Path) -> Iterator[str]:
    yield "Try next:"
    for purpose, command in next_commands(db).items():
        yield f"  {purpose}:\n    {command}"


def next_commands(db: Path) -> dict[str, str]:
    """What a newcomer may want to do now: shell commands by purpose."""
    program, option = _program(), _db_option(db)
    cpu = "--metric system.cpu.utilization --since 5m --bucket 10s --agg avg --group-by cpu.mode"
    variables = "OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317"
    return {
        "The CPU again, ten seconds at a time": f"{program} query metrics{option} {cpu}",
        "Every metric that is stored": f"{program} query list{option}",
        "Plain SQL, with any client": f'{_sqlite_client(db)} "{_SQL}"',
        "Receive from your own programs": f"{program} serve{option}",
        "Tell a program with an OpenTelemetry SDK where to send": f"export {variables}",
    }


def _program() -> str:
    """How this program was started; its script may be on no PATH."""
    if Path(sys.argv[0]).name == "__main__.py":
        return f"{shlex.quote(sys.orig_argv[0])} -m exporter"
    return "openfinops-exporter"


def _db_option(db: Path) -> str:
    """What other commands need to find the file; nothing if they would take it anyway."""
    try:
        usual = load_settings(None, db=None).exporter
    except ConfigError:
        usual = None
    if usual is not None and usual.connection_string == connection_string(str(db)):
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


def _table(lines: tuple[Line, ...], *, wide: bool) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    columns = _columns(wide=wide)
    table.add_column("METRIC", no_wrap=True)
    for header in columns:
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column(
        "TREND", style="green", no_wrap=True, min_width=_TREND_COLUMNS if wide else None
    )
    before = ""
    for line in lines:
        name = Text(line.metric_name, style="dim" if line.metric_name == before else "cyan")
        before = line.metric_name
        cells = (Text(cell(line)) for cell in columns.values())
        table.add_row(
            name.append(f" {line.label}", style="not dim"), *cells, sparkline(line.values)
        )
    return table


def _columns(*, wide: bool) -> dict[str, Callable[[Line], str]]:
    columns: dict[str, Callable[[Line], str]] = {
        "LAST": lambda line: _shown(line.values[-1], line),
        "MEAN": lambda line: _shown(line.mean, line),
        "MAX": lambda line: _shown(max(line.values), line),
    }
    if not wide:
        return columns
    return {
        "POINTS": lambda line: str(line.points),
        "MIN": lambda line: _shown(min(line.values), line),
        **columns,
    }


def _shown(value: float, line: Line) -> str:
    # What is counted, such as {process}, stands in the metric's name. Of the demo's metrics those
    # with the unit 1, and no others, are shares of a whole.
    unit = "" if line.unit.startswith("{") else line.unit
    return format_quantity(value, unit, is_ratio=unit == "1")


def sparkline(values: Sequence[float]) -> str:
    """A line of blocks from the least to the largest value; level where nothing much changes.

    >>> sparkline([0, 1, 2, 3]), sparkline([1000, 1001, 1000])
    ('▁▃▆█', '▁▁▁')
    """
    least, largest = min(values), max(values)
    if largest - least <= _NOISE * max(abs(least), abs(largest)):
        return _BLOCKS[0] * len(values)
    steps = (len(_BLOCKS) - 1) / (largest - least)
    return "".join(_BLOCKS[round((value - least) * steps)] for value in values)
