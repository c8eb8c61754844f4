"""`import focus`: reads bills of cloud providers as cost entries."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import typer

from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.cli import output
from exporter.cli.options import BackendOption, ConfigOption, DbOption
from exporter.cli.store import open_store, store_settings
from exporter.column_files import ColumnFileError, read_rows
from exporter.config import ExporterSettings
from exporter.errors import ConfigError, RowRefusedError
from exporter.focus import (
    CostColumn,
    FocusRowError,
    OddCell,
    RestoredStreams,
    plain_decimal,
    row_ids,
    row_to_entry,
)
from exporter.model import Batch, CostEntry
from exporter.query.costs import exact_sum
from exporter.render import format_number
from exporter.time_units import NANOSECONDS_PER_DAY
from exporter.transfer.pages import read_streams

app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read files of other programs into the database, also while a receiver is running.",
)

_ROWS_PER_BATCH: Final = 5_000
_SERIES_PER_BATCH: Final = 500
_REQUIRED_COLUMNS: Final = ("BillingCurrency", "ChargePeriodStart")
# An entry, with its file and line.
_LocatedEntry = tuple[str, CostEntry]


@dataclass(slots=True)
class _Summary:
    """Counts of rows and odd cells, and the sums of the stored rows by currency."""

    read: int = 0
    stored: int = 0
    refused: int = 0
    oldest_unix_nano: float = math.inf
    streams: RestoredStreams = field(default_factory=RestoredStreams)
    totals: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    odd_cells: Counter[OddCell] = field(default_factory=Counter)
    first_locations: dict[OddCell, str] = field(default_factory=dict)

    def refuse(self, location: str, reason: str) -> None:
        self.refused += 1
        output.print_warning(f"{location}: {reason}")

    def note_odd(self, location: str, cell: OddCell) -> None:
        self.odd_cells[cell] += 1
        self.first_locations.setdefault(cell, location)

    def add(self, entries: Sequence[CostEntry]) -> None:
        self.stored += len(entries)
        for entry in entries:
            self.streams.add(entry)
            self.totals[entry.currency] = exact_sum([self.totals[entry.currency], entry.amount])
        # Retention keeps bills. Entries of other sources are from an export of this program.
        times = [entry.time_unix_nano for entry in entries if entry.source != "focus"]
        self.oldest_unix_nano = min([*times, self.oldest_unix_nano])


@app.callback()
def _import() -> None:
    """Makes `import` a group, although it has only one command."""


@app.command()
def focus(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV or Parquet; all files of one bill together."),
    ],
    *,
    cost: Annotated[
        CostColumn,
        typer.Option(
            "--cost",
            metavar="|".join(get_args(CostColumn)),
            help="The column that holds the amount.",
        ),
    ] = "BilledCost",
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
) -> None:
    """Read bills in the format of FOCUS 1.0 to 1.2; rows that are already stored stay unchanged.

    Invalid rows are reported with their line and the reason, and all others are stored; exits
    with 1 if there was an invalid row.

    For example:

        openfinops-exporter import focus october.csv

        openfinops-exporter import focus october-1.parquet october-2.parquet --cost EffectiveCost
    """
    settings = store_settings(config, db=db, backend=backend)
    if settings.backend == "memory":
        raise ConfigError("import: the backend memory ends with this command; give --db a database")
    summary = _Summary()
    with open_store(settings, read_only=False) as store, row_ids() as next_id:
        batch: list[_LocatedEntry] = []
        for located in _entries(files, cost, next_id, summary):
            batch.append(located)
            if len(batch) == _ROWS_PER_BATCH:
                _store(store, batch, summary)
                batch = []
        _store(store, batch, summary)
        _store_streams(store, summary.streams)
    _print_summary(summary, settings)


def _entries(
    files: Sequence[Path],
    cost: CostColumn,
    next_id: Callable[[Mapping[str, Any]], str],
    summary: _Summary,
) -> Iterator[_LocatedEntry]:
    """The valid rows of all files as entries; invalid rows are reported and skipped."""
    for path in files:
        is_first = True
        for line, row in read_rows(path):
            if is_first:
                _require_columns(path, row, cost)
                is_first = False
            summary.read += 1
            location = f"{path}:{line}"
            try:
                note_odd = partial(summary.note_odd, location)
                yield location, row_to_entry(row, partial(next_id, row), cost, note_odd)
            except FocusRowError as error:
                summary.refuse(location, str(error))


def _require_columns(path: Path, row: Mapping[str, Any], cost: str) -> None:
    missing = [name for name in (cost, *_REQUIRED_COLUMNS) if name not in row]
    if missing:
        raise ColumnFileError(
            f"reading {path}: it has no column {', '.join(missing)}; is it an export of FOCUS "
            "1.0 to 1.2?"
        )


def _store(store: Backend, located: Sequence[_LocatedEntry], summary: _Summary) -> None:
    """Store a batch; if the backend refuses a row, store the others and report it."""
    entries = [entry for _, entry in located]
    try:
        store.write(Batch(costs=tuple(entries)))
    except RowRefusedError:
        accepted, dead_letters = isolate_refused_rows(Batch(costs=tuple(entries)), store.dry_run)
        store.write(accepted)
        accepted_ids = {id(entry) for entry in accepted.costs}
        refused = [location for location, entry in located if id(entry) not in accepted_ids]
        for location, dead_letter in zip(refused, dead_letters, strict=True):
            summary.refuse(location, dead_letter.reason)
        entries = list(accepted.costs)
    summary.add(entries)


def _store_streams(store: Backend, restored: RestoredStreams) -> None:
    """Store the streams of restored entries, so that their counters go on where they were."""
    series_ids = restored.series_ids()
    for begin in range(0, len(series_ids), _SERIES_PER_BATCH):
        part = series_ids[begin : begin + _SERIES_PER_BATCH]
        stored = {(one.series_id, one.stream_start) for one in read_streams(store, part)}
        store.write(Batch(cost_streams=tuple(restored.streams(part, stored))))


def _print_summary(summary: _Summary, settings: ExporterSettings) -> None:
    """Print the summary; exits with 1 if rows were refused."""
    output.print_note(
        f"{format_number(summary.read)} rows read: {format_number(summary.stored)} are stored, "
        f"{format_number(summary.refused)} were refused"
    )
    for currency, total in sorted(summary.totals.items()):
        output.print_note(f"{currency} {plain_decimal(total)}")
    if summary.odd_cells:
        found = "; ".join(
            f"{cell.column}: {format_number(count)}, stored as {cell.stored_as}, the first in "
            f"{summary.first_locations[cell]}"
            for cell, count in summary.odd_cells.most_common()
        )
        output.print_warning(f"some cells are empty or could not be read: {found}")
    kept_from = time.time_ns() - settings.cost_retention_days * NANOSECONDS_PER_DAY
    if summary.oldest_unix_nano < kept_from:
        output.print_warning(
            "some are not from a bill and older than cost_retention_days "
            f"({settings.cost_retention_days:g}); a running receiver will delete them within the "
            "hour"
        )
    if summary.refused:
        raise typer.Exit(1)
