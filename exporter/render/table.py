"""Rows as a table for a terminal: short values, and only columns that say something. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from exporter.render.quantities import format_amount, format_number, format_quantity

_Row = Mapping[str, Any]

NO_VALUE: Final = "-"
_NO_ROWS: Final = (
    "Nothing matches. Try a longer time range or fewer filters, "
    "or list the metrics to see what is stored."
)
# In the order of the table.
_DEFAULT_KEYS: Final = (
    "timestamp",
    "metric_name",
    "metric_type",
    "unit",
    "aggregation",
    "value",
    "series",
    "points",
    "first_timestamp",
    "last_timestamp",
    "cluster_id",
    "node_id",
    "service_name",
    "attributes",
    "description",
)
# Not shown beside a value, which shows both.
_SHOWN_BY_VALUE: Final = frozenset({"metric_type", "unit"})
# If all rows have the same value, one line under the table shows it instead of a column.
_CAPTION_KEYS: Final = {
    "aggregation": "aggregation",
    "cluster_id": "cluster",
    "node_id": "node",
    "service_name": "service",
}
_HEADERS: Final = {**_CAPTION_KEYS, "metric_name": "metric", "metric_type": "type"}
_DIM_KEYS: Final = frozenset({"attributes", "resource", "scope", "description"})
# Short values, which do not wrap.
_NO_WRAP_KEYS: Final = frozenset({"metric_type", "unit", "aggregation", "series", "points"})
_RATIO_SUFFIXES: Final = ("utilization", "ratio", "fraction")


@dataclass(frozen=True, slots=True)
class _Column:
    header: str
    cell: Callable[[_Row], str]
    justify: Literal["left", "right"] = "left"
    style: str = ""
    no_wrap: bool = True


def render_table(
    rows: Iterable[_Row], *, columns: Sequence[str] | None = None, title: str | None = None
) -> Table:
    """A table of rows of the query module.

    Args:
        rows: dicts.
        columns: keys to show, in this order. None for the usual ones without those that are the
            same in every row, which are shown once under the table.
        title: the text above the table.
    """
    rows = list(rows)
    heading = None if title is None else Text(escape_controls(title), style="bold")
    if not rows:
        table = Table(title=heading, box=None, show_header=False)
        table.add_row(Text(_NO_ROWS))
        return table
    table = new_table(heading)
    shown = [_column(key) for key in (_keys_to_show(rows) if columns is None else columns)]
    _fill(table, shown, rows)
    if columns is None and (common := _common(rows)):
        parts = [
            f"{_CAPTION_KEYS[key]} {escape_controls(str(value))}" for key, value in common.items()
        ]
        table.caption = Text(" · ".join(parts))
    return table


def new_table(title: Text | None = None) -> Table:
    """A table without rows and columns, in the style that all tables have."""
    return Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def format_time(epoch_seconds: float | None) -> str:
    """A time in UTC, rounded down to a second."""
    if epoch_seconds is None:
        return NO_VALUE
    return f"{datetime.fromtimestamp(epoch_seconds // 1, UTC):%Y-%m-%d %H:%M:%S}"


def _fill(table: Table, columns: Sequence[_Column], rows: Sequence[_Row]) -> None:
    for column in columns:
        table.add_column(
            Text(column.header),
            justify=column.justify,
            style=column.style,
            no_wrap=column.no_wrap,
            overflow="ellipsis" if column.no_wrap else "fold",
        )
    for row in rows:
        table.add_row(*(Text(column.cell(row)) for column in columns))


def _keys_to_show(rows: Sequence[_Row]) -> list[str]:
    hidden = set(_common(rows))
    if any("value" in row for row in rows):
        hidden |= _SHOWN_BY_VALUE
    if any("series_id" in row or "points" in row for row in rows):
        hidden.add("description")  # too long beside these; the list of metrics shows it
    filled = {key for row in rows for key, value in row.items() if value not in (None, "", {})}
    filled |= {key for row in rows for key in row if key == "value"}
    return [key for key in _DEFAULT_KEYS if key in filled and key not in hidden]


def _common(rows: Sequence[_Row]) -> dict[str, object]:
    """The caption keys that are not None and the same in all rows, with their values."""
    first = {key: rows[0].get(key) for key in _CAPTION_KEYS}
    return {
        key: value
        for key, value in first.items()
        if value is not None and all(row.get(key) == value for row in rows)
    }


def _column(key: str) -> _Column:
    if key == "value":
        return _Column("VALUE", _value, justify="right", no_wrap=False)
    if key == "amount":
        return _Column("AMOUNT", _amount, justify="right")
    if key == "timestamp" or key.endswith("_timestamp"):
        header = key.removesuffix("timestamp").removesuffix("_") or "time"
        # A list of metrics has two times. Wrapped, they leave room for the name.
        return _Column(
            f"{header.upper()} (UTC)",
            lambda row: format_time(row.get(key)),
            no_wrap=key == "timestamp",
        )
    return _Column(
        _HEADERS.get(key, key.replace("_", " ")).upper(),
        lambda row: _plain(row.get(key)),
        justify="right" if key in {"series", "points", "count", "entries"} else "left",
        style="cyan" if key == "metric_name" else "dim" if key in _DIM_KEYS else "",
        no_wrap=key in _NO_WRAP_KEYS,
    )


def _amount(row: _Row) -> str:
    return format_amount(row["amount"], row["currency"])


def _value(row: _Row) -> str:
    if "quantiles" in row or "count" in row:
        return _distribution(row)
    value = row.get("value")
    return NO_VALUE if value is None else _quantity(value, row)


def _distribution(row: _Row) -> str:
    """A histogram or summary point: count, average, maximum and quantiles."""
    count, total = row.get("count"), row.get("sum")
    if count is None:
        return NO_VALUE
    parts = [f"n={format_number(count)}"]
    if count and total is not None:
        parts.append(f"avg={_quantity(total / count, row)}")
    if row.get("max") is not None:
        parts.append(f"max={_quantity(row['max'], row)}")
    parts += [
        f"p{format_number(item['quantile'] * 100)}={_quantity(item['value'], row)}"
        for item in row.get("quantiles", ())
    ]
    return " ".join(parts)


def _quantity(value: float, row: _Row) -> str:
    return format_quantity(value, row.get("unit") or "", is_ratio=_is_ratio(value, row))


def _is_ratio(value: float, row: _Row) -> bool:
    """Whether a value is a share of a whole.

    OpenTelemetry has the unit "1" for shares, and many senders use it for counts too.
    """
    if row.get("unit") != "1":
        return False
    name = str(row.get("metric_name"))
    return name.endswith(_RATIO_SUFFIXES) or (row.get("metric_type") == "gauge" and 0 < value < 1)


def _plain(value: object) -> str:
    if value is None:
        return NO_VALUE
    if value == "exponential_histogram":
        return "exp. histogram"
    if isinstance(value, Mapping):
        return " ".join(f"{escape_controls(str(key))}={_text(item)}" for key, item in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    return escape_controls(str(value))


def _text(value: object) -> str:
    """A value as a user types it: in quotes if it is empty or contains a space."""
    if isinstance(value, str) and value and not any(letter.isspace() for letter in value):
        return escape_controls(value)
    return escape_controls(json.dumps(value, ensure_ascii=False))


def escape_controls(text: str) -> str:
    """The text with control characters escaped: a sender must not control the terminal."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
