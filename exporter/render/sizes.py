"""Sizes of a store as a table and as JSON; pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich import box
from rich.table import Table
from rich.text import Text

from exporter.render.quantities import format_number, format_quantity
from exporter.render.streams import with_iso_times

__all__ = ["render_counts", "render_receiver", "render_sizes", "render_sizes_json"]

_NOTHING: Final = "-"
_ABOUT: Final = "~"

_Row = Mapping[str, Any]
_Cell = Callable[[_Row], str]


def render_sizes(sizes: Mapping[str, Any]) -> Table:
    """One line a table, and the whole below; `~` stands before estimates.

    Partitions and compression have columns where the backend has them.

    Args:
        sizes: as `Reader.store_sizes` gives them.
    """
    tables = sizes["tables"]
    columns: dict[str, _Cell] = {
        "ROWS": lambda table: _about(format_number(table["rows"]), exact=table["rows_are_exact"]),
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
    shown = _table("TABLE", *columns)
    for table in tables:
        shown.add_row(table["table"], *(cell(table) for cell in columns.values()))
    shown.caption = Text(_whole(sizes))
    return shown


def render_receiver(status: Mapping[str, Any]) -> Table:
    """The counters of a receiver that are not zero, one a line.

    Args:
        status: its process id, the time of the report in seconds since 1970, and the counters.
    """
    shown = _table("RECEIVER", "COUNT")
    for name, value in status["counters"].items():
        if value:
            shown.add_row(name, format_number(value))
    at = datetime.fromtimestamp(status["timestamp"], UTC)
    shown.caption = Text(f"process {status['pid']}, as of {at:%Y-%m-%d %H:%M:%S} UTC")
    return shown


def render_counts(counts: Mapping[str, int], header: str) -> Table:
    """Rows by table, such as those that a cleanup deletes."""
    shown = _table("TABLE", header)
    for table, rows in counts.items():
        shown.add_row(table, format_number(rows))
    return shown


def render_sizes_json(answer: Mapping[str, Any]) -> Iterator[str]:
    """One JSON object; every time is told twice, as in `render_json`.

    Args:
        answer: as `Reader.store_sizes` gives it, and whatever stands beside it.
    """
    tables = [with_iso_times(table) for table in answer["tables"]]
    yield json.dumps({**answer, "tables": tables}, ensure_ascii=False, indent=2) + "\n"


def _table(name: str, *numbers: str) -> Table:
    table = Table(
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    table.add_column(Text(name), style="cyan", no_wrap=True)
    for header in numbers:
        table.add_column(Text(header), justify="right")
    return table


def _whole(sizes: Mapping[str, Any]) -> str:
    tables = sizes["tables"]
    rows = sum(table["rows"] for table in tables)
    exact = all(table["rows_are_exact"] for table in tables)
    said = [
        f"{_about(format_number(rows), exact=exact)} rows",
        f"{format_number(sizes['series'])} series",
        f"{_bytes(sizes['total_bytes'])} in all",
    ]
    if sizes["free_bytes"] is not None:
        said.append(f"{_bytes(sizes['free_bytes'])} of it free for new rows")
    return " · ".join(said)


def _about(text: str, *, exact: bool) -> str:
    return text if exact else f"{_ABOUT}{text}"


def _bytes(count: int | None) -> str:
    return _NOTHING if count is None else format_quantity(count, "By")


def _bytes_per_row(table: _Row) -> str:
    if table["size_bytes"] is None or not table["rows"]:
        return _NOTHING
    share = format_number(round(table["size_bytes"] / table["rows"], 1))
    return _about(share, exact=table["rows_are_exact"])


def _time(epoch_seconds: float | None, table: _Row) -> str:
    if epoch_seconds is None:
        return _NOTHING
    moment = datetime.fromtimestamp(int(epoch_seconds // 1), UTC)
    return _about(f"{moment:%Y-%m-%d %H:%M:%S}", exact=table["times_are_exact"])


def _count(count: int | None) -> str:
    return _NOTHING if count is None else format_number(count)


def _ratio(ratio: float | None) -> str:
    return _NOTHING if ratio is None else f"{format_number(ratio)}x"
