"""`import`: bills of cloud providers as cost entries."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.cli import output
from exporter.cli.options import BackendOption, ConfigOption, DbOption, store_settings
from exporter.column_files import ColumnFileError, read_rows
from exporter.config import ExporterSettings
from exporter.errors import ConfigError, RowRefusedError
from exporter.focus import CostColumn, FocusRowError, RowIdGenerator, row_to_entry
from exporter.model import Batch, CostEntry
from exporter.render import format_number

__all__ = ["app"]

app: Final = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read files of others into the database, also while a receiver is running.",
)

_ROWS_A_BATCH: Final = 5_000
_NANOSECONDS_PER_DAY: Final = 86_400 * 1_000_000_000
_NEEDED: Final = ("BillingCurrency", "BillingPeriodStart", "ChargePeriodStart", "ServiceCategory")
# An entry, and where it came from.
_Placed = tuple[str, CostEntry]


class Cost(StrEnum):
    """Which cost of a row is the amount."""

    BILLED = "BilledCost"
    EFFECTIVE = "EffectiveCost"


@dataclass(slots=True)
class _Tally:
    """What became of the rows, and the sums of those that are stored."""

    read: int = 0
    stored: int = 0
    refused: int = 0
    oldest_unix_nano: int | None = None
    totals: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))

    def refuse(self, place: str, reason: str) -> None:
        self.refused += 1
        output.print_warning(f"{place}: {reason}")

    def count(self, entries: Sequence[CostEntry]) -> None:
        self.stored += len(entries)
        for entry in entries:
            self.totals[entry.currency] += entry.amount
        times = [entry.time_unix_nano for entry in entries]
        if self.oldest_unix_nano is not None:
            times.append(self.oldest_unix_nano)
        self.oldest_unix_nano = min(times, default=None)


@app.callback()
def _import() -> None:
    """A group, although it has one command so far."""


@app.command()
def focus(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="CSV or Parquet; all files of one bill together."),
    ],
    *,
    cost: Annotated[
        Cost,
        typer.Option("--cost", metavar="|".join(Cost), help="Which cost is the amount."),
    ] = Cost.BILLED,
    config: ConfigOption = None,
    backend: BackendOption = None,
    db: DbOption = None,
) -> None:
    """Read bills in the format of FOCUS 1.0 to 1.2; a row that is there already stays.

    Rows that do not conform are named with their line and the reason, the others are stored;
    exits with 1 if there were any.

    For example:

        openfinops-exporter import focus october.csv

        openfinops-exporter import focus october-1.parquet october-2.parquet --cost EffectiveCost
    """
    settings = store_settings(config, db=db, backend=backend)
    if settings.backend == "memory":
        raise ConfigError("import: the backend memory ends with this command; give --db a database")
    tally = _Tally()
    with _opened(settings) as store, RowIdGenerator() as ids:
        batch: list[_Placed] = []
        for placed in _entries(files, cost.value, ids, tally):
            batch.append(placed)
            if len(batch) == _ROWS_A_BATCH:
                _store(store, batch, tally)
                batch = []
        _store(store, batch, tally)
    _tell(tally, settings)


@contextmanager
def _opened(settings: ExporterSettings) -> Iterator[Backend]:
    backend = backend_for(settings)
    try:
        backend.start()
        yield backend
    finally:
        backend.close()


def _entries(
    files: Sequence[Path], cost: CostColumn, ids: RowIdGenerator, tally: _Tally
) -> Iterator[_Placed]:
    """The rows of all files as entries; those that cannot be one are told and left out."""
    for path in files:
        is_first = True
        for line, row in read_rows(path):
            if is_first:
                _require_columns(path, row, cost)
                is_first = False
            tally.read += 1
            place = f"{path}:{line}"
            try:
                yield place, row_to_entry(row, partial(ids.id_of, row), cost)
            except FocusRowError as error:
                tally.refuse(place, str(error))


def _require_columns(path: Path, row: Mapping[str, Any], cost: str) -> None:
    missing = [name for name in (cost, *_NEEDED) if name not in row]
    if missing:
        raise ColumnFileError(
            f"reading {path}: it has no column {', '.join(missing)}; is it an export of FOCUS "
            "1.0 to 1.2?"
        )


def _store(store: Backend, placed: Sequence[_Placed], tally: _Tally) -> None:
    entries = [entry for _, entry in placed]
    try:
        store.write(Batch(costs=tuple(entries)))
    except RowRefusedError:
        kept, letters = isolate_refused_rows(Batch(costs=tuple(entries)), store.dry_run)
        store.write(kept)
        left = {id(entry) for entry in kept.costs}
        refused = [place for place, entry in placed if id(entry) not in left]
        for place, letter in zip(refused, letters, strict=True):
            tally.refuse(place, letter.reason)
        entries = list(kept.costs)
    tally.count(entries)


def _tell(tally: _Tally, settings: ExporterSettings) -> None:
    """The summary; exits with 1 where rows were refused."""
    output.print_note(
        f"{format_number(tally.read)} rows read: {format_number(tally.stored)} are stored, "
        f"{format_number(tally.refused)} were refused"
    )
    for currency, total in sorted(tally.totals.items()):
        output.print_note(f"{currency} {total:f}")
    kept_from = time.time_ns() - settings.retention_days * _NANOSECONDS_PER_DAY
    if tally.oldest_unix_nano is not None and tally.oldest_unix_nano < kept_from:
        output.print_warning(
            f"some are older than retention_days ({settings.retention_days:g}); a running receiver "
            "will delete them within the hour"
        )
    if tally.refused:
        raise typer.Exit(1)
