"""Sizes of a store and counters of a receiver as tables and as JSON; pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from exporter.render.quantities import format_number, format_quantity
from exporter.render.row_formats import with_iso_times
from exporter.render.table import NO_VALUE, format_time, new_table

_ESTIMATE_SIGN: Final = "~"

_Row = Mapping[str, Any]
_Cell = Callable[[_Row], str]


def render_sizes(sizes: Mapping[str, Any]) -> Table:
    """One line a table, and the totals below; `~` precedes estimates.

    Partitions and compression have columns if the backend has them.

    Args:
        sizes: as `Reader.store_sizes` gives them.
    """
    tables = sizes["tables"]
    columns: dict[str, _Cell] = {
        "ROWS": lambda table: _estimate(
            format_number(table["rows"]), exact=table["rows_are_exact"]
        ),
        "SIZE": lambda table: _bytes(table["size_bytes"]),
        "BYTES/ROW": _bytes_per_row,
        "OLDEST (UTC)": lambda table: _time(table["oldest_timestamp"], table),
        "NEWEST (UTC)": lambda table: _time(table["newest_timestamp"], table),
    }
    if any(table["partitions"] is not None for table in tables):
        columns["PARTITIONS"] = lambda table: _count(table["partitions"])
    if any(table["compressed_partitions"] is not None for table in tables):
        columns["COMPRESSED"] = lambda table: _count(table["compressed_partitions"])
        columns["RATIO"] = lambda table: _ratio(table["compression_ratio"])
    result = _stats_table("TABLE", *columns)
    for table in tables:
        result.add_row(table["table"], *(cell(table) for cell in columns.values()))
    result.caption = Text(_totals(sizes))
    return result


def render_receiver(status: Mapping[str, Any]) -> Table:
    """The counters of a receiver that are not zero, one a line.

    Args:
        status: its process id, the time of the report in epoch seconds, and the counters.
    """
    result = _stats_table("RECEIVER", "COUNT")
    for name, value in status["counters"].items():
        if value:
            result.add_row(name, format_number(value))
    result.caption = Text(f"process {status['pid']}, as of {format_time(status['timestamp'])} UTC")
    return result


def render_counts(counts: Mapping[str, int], header: str) -> Table:
    """Rows by table, such as those that a cleanup deletes."""
    result = _stats_table("TABLE", header)
    for table, rows in counts.items():
        result.add_row(table, format_number(rows))
    return result


def render_sizes_json(answer: Mapping[str, Any]) -> Iterator[str]:
    """One JSON object with ISO times beside the timestamps, as in `render_json`.

    Args:
        answer: as `Reader.store_sizes` gives it, with any further members.
    """
    tables = [with_iso_times(table) for table in answer["tables"]]
    yield json.dumps({**answer, "tables": tables}, ensure_ascii=False, indent=2) + "\n"


def _stats_table(name: str, *numbers: str) -> Table:
    table = new_table()
    table.add_column(Text(name), style="cyan", no_wrap=True)
    for header in numbers:
        table.add_column(Text(header), justify="right")
    return table


def _totals(sizes: Mapping[str, Any]) -> str:
    tables = sizes["tables"]
    rows = sum(table["rows"] for table in tables)
    exact = all(table["rows_are_exact"] for table in tables)
    parts = [
        f"{_estimate(format_number(rows), exact=exact)} rows",
        f"{format_number(sizes['series'])} series",
        f"{_bytes(sizes['total_bytes'])} in all",
    ]
    if sizes["free_bytes"] is not None:
        parts.append(f"{_bytes(sizes['free_bytes'])} of it free for new rows")
    return " · ".join(parts)


def _estimate(text: str, *, exact: bool) -> str:
    return text if exact else f"{_ESTIMATE_SIGN}{text}"


def _bytes(count: int | None) -> str:
    return NO_VALUE if count is None else format_quantity(count, "By")


def _bytes_per_row(table: _Row) -> str:
    if table["size_bytes"] is None or not table["rows"]:
        return NO_VALUE
    text = format_number(round(table["size_bytes"] / table["rows"], 1))
    return _estimate(text, exact=table["rows_are_exact"])


def _time(epoch_seconds: float | None, table: _Row) -> str:
    exact = epoch_seconds is None or table["times_are_exact"]
    return _estimate(format_time(epoch_seconds), exact=exact)


def _count(count: int | None) -> str:
    return NO_VALUE if count is None else format_number(count)


def _ratio(ratio: float | None) -> str:
    return NO_VALUE if ratio is None else f"{format_number(ratio)}x"
