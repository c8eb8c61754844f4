"""Rows as a table for a terminal: short, aligned, and no more columns than say something."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from exporter.render.money import format_amount
from exporter.render.quantities import format_number, format_quantity

__all__ = ["escape_controls", "render_table"]

_Row = Mapping[str, Any]

_NOTHING: Final = "-"
_EMPTY: Final = (
    "Nothing matches. Try a longer time range or fewer filters, "
    "or list the metrics to see what is stored."
)
# In the order of the table. The type and unit of a point are left out: its value shows them.
_SHOWN: Final = (
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
_SHOWN_BY_VALUE: Final = frozenset({"metric_type", "unit"})
# Where every row says the same, one line under the table says it once.
_SAID_ONCE: Final = {
    "aggregation": "aggregation",
    "cluster_id": "cluster",
    "node_id": "node",
    "service_name": "service",
}
_HEADERS: Final = {**_SAID_ONCE, "metric_name": "metric", "metric_type": "type"}
_SECONDARY: Final = frozenset({"attributes", "resource", "scope", "description"})
# What has one short form stays on one line and lets the rest wrap.
_ONE_LINE: Final = frozenset({"metric_type", "unit", "aggregation", "series", "points"})
_RATIO_NAMES: Final = ("utilization", "ratio", "fraction")


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
    """A table of any rows that the query module gives.

    Args:
        rows: dicts.
        columns: keys to show, in this order. Without them: those that people look at, less
            those that are the same in every row, which stand under the table.
        title: what to write above.
    """
    rows = list(rows)
    heading = None if title is None else Text(escape_controls(title), style="bold")
    if not rows:
        table = Table(title=heading, box=None, show_header=False)
        table.add_row(Text(_EMPTY))
        return table
    table = Table(
        title=heading,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    shown = [_column(key) for key in (_keys_to_show(rows) if columns is None else columns)]
    _fill(table, shown, rows)
    if columns is None and (common := _common(rows)):
        said = [f"{_SAID_ONCE[key]} {escape_controls(str(value))}" for key, value in common.items()]
        table.caption = Text(" · ".join(said))
    return table


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
        hidden.add("description")  # there is no room for it, and the list of metrics has it
    filled = {key for row in rows for key, value in row.items() if value not in (None, "", {})}
    filled |= {key for row in rows for key in row if key == "value"}
    return [key for key in _SHOWN if key in filled and key not in hidden]


def _common(rows: Sequence[_Row]) -> dict[str, object]:
    """What is the same in all rows and told once; where it is None there is nothing to tell."""
    first = {key: rows[0].get(key) for key in _SAID_ONCE}
    return {
        key: value
        for key, value in first.items()
        if value is not None and all(row.get(key) == value for row in rows)
    }


def _column(key: str) -> _Column:
    if key == "value":
        return _Column("VALUE", _value, justify="right", no_wrap=False)
    if key == "amount":
        return _Column("AMOUNT", lambda row: format_amount(row["amount"]), justify="right")
    if key == "timestamp" or key.endswith("_timestamp"):
        header = key.removesuffix("timestamp").removesuffix("_") or "time"
        # Lists have two of them; on two lines they leave room for the name.
        return _Column(
            f"{header.upper()} (UTC)",
            lambda row: _time(row.get(key)),
            no_wrap=key == "timestamp",
        )
    return _Column(
        _HEADERS.get(key, key.replace("_", " ")).upper(),
        lambda row: _plain(row.get(key)),
        justify="right" if key in {"series", "points", "count", "entries"} else "left",
        style="cyan" if key == "metric_name" else "dim" if key in _SECONDARY else "",
        no_wrap=key in _ONE_LINE,
    )


def _time(epoch_seconds: float | None) -> str:
    if epoch_seconds is None:
        return _NOTHING
    return datetime.fromtimestamp(int(epoch_seconds // 1), UTC).strftime("%Y-%m-%d %H:%M:%S")


def _value(row: _Row) -> str:
    if "quantiles" in row or "count" in row:
        return _distribution(row)
    value = row.get("value")
    return _NOTHING if value is None else _quantity(value, row)


def _distribution(row: _Row) -> str:
    """A histogram or summary point in a few words."""
    count, total = row.get("count"), row.get("sum")
    if count is None:
        return _NOTHING
    words = [f"n={format_number(count)}"]
    if count and total is not None:
        words.append(f"avg={_quantity(total / count, row)}")
    if row.get("max") is not None:
        words.append(f"max={_quantity(row['max'], row)}")
    words += [
        f"p{format_number(item['quantile'] * 100)}={_quantity(item['value'], row)}"
        for item in row.get("quantiles", ())
    ]
    return " ".join(words)


def _quantity(value: float, row: _Row) -> str:
    return format_quantity(value, row.get("unit") or "", is_ratio=_is_ratio(value, row))


def _is_ratio(value: float, row: _Row) -> bool:
    """OpenTelemetry gives the unit "1" to shares of a whole, and many give it to counts as well."""
    if row.get("unit") != "1":
        return False
    name = str(row.get("metric_name"))
    return name.endswith(_RATIO_NAMES) or (row.get("metric_type") == "gauge" and 0 < value < 1)


def _plain(value: object) -> str:
    if value is None:
        return _NOTHING
    if value == "exponential_histogram":
        return "exp. histogram"
    if isinstance(value, Mapping):
        return " ".join(f"{escape_controls(str(key))}={_text(item)}" for key, item in value.items())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return format_number(value)
    return escape_controls(str(value))


def _text(value: object) -> str:
    """A value as it would be typed; in quotes where a space would end it."""
    if isinstance(value, str) and value and not any(letter.isspace() for letter in value):
        return escape_controls(value)
    return escape_controls(json.dumps(value, ensure_ascii=False))


def escape_controls(text: str) -> str:
    """A text without control characters: senders decide what is in it, no terminal obeys it."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
