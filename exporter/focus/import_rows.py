"""A row of a bill as a cost entry, and ids for rows that have none.

A column that an entry has no field for, such as ProviderName, becomes a tag `focus.ProviderName`.
Costs can be grouped by it, and an export writes it again. A row that this program exported has the
fields of the entry in its `x_` columns, and becomes that entry again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar, get_args

import xxhash

from exporter.costs.entry_calculation import billing_period, quantize_amount
from exporter.costs.entry_fields import parse_currency
from exporter.focus import cells
from exporter.focus import specification as spec
from exporter.model import CostEntry, CostSource
from exporter.time_units import to_nanos

CostColumn = Literal["BilledCost", "EffectiveCost"]

_Row = Mapping[str, Any]
_Value = TypeVar("_Value")
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)  # 64 bits of nanoseconds end in that year
_MAX_AMOUNT: Final = Decimal(10**15)
_COUNT_ROW: Final = """
    INSERT INTO rows (digest) VALUES (?)
    ON CONFLICT (digest) DO UPDATE SET seen = seen + 1
    RETURNING seen
"""


class FocusRowError(Exception):
    """A row cannot be a cost entry; the message says which column and why."""


@contextmanager
def row_ids() -> Iterator[Callable[[_Row], str]]:
    """Ids for the rows of one bill; the same row has the same id in every import.

    A bill may contain a row twice and mean two charges, so the id also has the number of the row
    among equal ones. Those are counted in a temporary SQLite file, because a bill can have more
    rows than fit into memory.

    Yields:
        A function that returns the id of the next row. The order of the cells and empty cells do
        not change the id.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(
            "CREATE TABLE rows (digest BLOB PRIMARY KEY, seen INTEGER DEFAULT 1) WITHOUT ROWID"
        )
        # One transaction that is never committed: the counts are not needed after the import.
        connection.execute("BEGIN")

        def next_id(row: _Row) -> str:
            texts = {name: cells.read_text(value) for name, value in row.items()}
            present = {name: text for name, text in texts.items() if text is not None}
            digest = xxhash.xxh3_128(cells.to_json(present).encode("utf-8", "surrogatepass"))
            ((seen,),) = connection.execute(_COUNT_ROW, (digest.digest(),)).fetchall()
            return f"focus-{digest.hexdigest()}" + ("" if seen == 1 else f"-{seen}")

        yield next_id


def row_to_entry(row: _Row, make_entry_id: Callable[[], str], cost_column: CostColumn) -> CostEntry:
    """The cost entry of a row.

    Args:
        row: its cells by column; columns that FOCUS 1.2 does not define are ignored.
        make_entry_id: called for a row that has no entry id of its own.
        cost_column: which cost is the amount.

    Raises:
        FocusRowError: the row does not conform.
    """
    # The csv module puts cells beyond the header under the key None.
    if None in row or (row and all(value is None for value in row.values())):
        raise FocusRowError("the line has more cells than the header, or none")
    entry = _entry(row, make_entry_id, cost_column)
    for text in (entry.entry_id, entry.resource_id, entry.tags, entry.description):
        _require_valid_unicode(text)
    return entry


def _entry(row: _Row, make_entry_id: Callable[[], str], cost_column: CostColumn) -> CostEntry:
    entry_id = _optional_text(row, "x_EntryId")
    source = _source(row) if entry_id is not None else "focus"
    charge_start = _time(row, "ChargePeriodStart")
    amount = _amount(row, cost_column)
    tags = _cell(row, "Tags", cells.read_tags)
    if source == "focus":
        tags |= _column_tags(row, amount, tags)
    # An export fills ServiceName, which must not be null, with the category if there is no name.
    is_exported = entry_id is not None and "x_ServiceName" in row
    return CostEntry(
        entry_id=entry_id or make_entry_id(),
        time_unix_nano=to_nanos(_cell(row, "x_Time", cells.read_time) or charge_start),
        resource_id=_optional_text(row, "ResourceId") or "",
        category=_optional_text(row, "x_Category")
        or spec.entry_category(_text(row, "ServiceCategory")),
        amount=amount,
        currency=_currency(row),
        region=_optional_text(row, "RegionId"),
        cluster_id=_optional_text(row, "x_ClusterId") or "default",
        node_id=_optional_text(row, "x_NodeId") or "default",
        service_name=_optional_text(row, "x_ServiceName" if is_exported else "ServiceName"),
        tags=cells.to_json(tags),
        description=_optional_text(row, "ChargeDescription") or "",
        billing_period=_optional_text(row, "x_BillingPeriod") or _month(row),
        source=source,
    )


def _source(row: _Row) -> CostSource:
    """The source of an entry that has an id; another system's x_Source is ignored."""
    text = _optional_text(row, "x_Source")
    sources: tuple[CostSource, ...] = get_args(CostSource)
    return next((source for source in sources if source == text), "focus")


def _amount(row: _Row, cost_column: CostColumn) -> Decimal:
    """The amount as stores keep it. If the bill has more decimal places, they are kept in a tag."""
    column = cost_column if _optional_text(row, "x_Amount") is None else "x_Amount"
    amount = _cell(row, column, cells.read_decimal)
    if amount is None:
        raise FocusRowError(f"{column} is missing")
    if abs(amount) >= _MAX_AMOUNT:
        raise FocusRowError(f"{column} is {str(amount)[:40]}, which is not below 10^15")
    return quantize_amount(amount)


def _currency(row: _Row) -> str:
    text = _text(row, "BillingCurrency")
    currency = parse_currency(text)
    if currency is None:
        raise FocusRowError(f"BillingCurrency {text[:40]!r} is not an ISO 4217 currency")
    return currency


def _column_tags(row: _Row, amount: Decimal, tags: Mapping[str, Any]) -> dict[str, str]:
    """Columns that an entry has no field for, as tags."""
    column_tags = {
        f"{spec.TAG_PREFIX}{name}": text
        for name in sorted(spec.TAG_COLUMNS & row.keys())
        if (text := _tag_text(row, name, amount)) is not None
    }
    taken = sorted(column_tags.keys() & tags.keys())
    if taken:
        raise FocusRowError(
            f"Tags has {taken[0]!r}, which is the name of the tag for that column; rename the tag"
        )
    return column_tags


def _tag_text(row: _Row, name: str, amount: Decimal) -> str | None:
    """The text of a column for its tag; None if it is empty, or an export would compute it."""
    if name in spec.DECIMAL_COLUMNS:
        number = _cell(row, name, cells.read_decimal)
        is_amount = name in spec.COST_COLUMNS and number == amount
        return None if number is None or is_amount else f"{cells.plain_decimal(number):f}"
    if name in spec.TIME_COLUMNS:
        moment = _cell(row, name, cells.read_time)
        is_computed = name.startswith("Billing") and moment in spec.month_bounds(_month(row))
        return None if moment is None or is_computed else moment.isoformat()
    text = _optional_text(row, name)
    computed = spec.unknown_subcategory(_optional_text(row, "ServiceCategory") or "")
    return None if name == "ServiceSubcategory" and text == computed else text


def _month(row: _Row) -> str:
    """The month in which the billing period begins."""
    return billing_period(to_nanos(_time(row, "BillingPeriodStart")))


def _optional_text(row: _Row, column: str) -> str | None:
    return cells.read_text(row.get(column))


def _text(row: _Row, column: str) -> str:
    text = _optional_text(row, column)
    if text is None:
        raise FocusRowError(f"{column} is missing")
    return text


def _time(row: _Row, column: str) -> datetime:
    moment = _cell(row, column, cells.read_time)
    if moment is None:
        raise FocusRowError(f"{column} is missing")
    if not _EARLIEST <= moment < _LATEST:
        raise FocusRowError(f"{column} is {moment.isoformat()}, before 1970 or after 2261")
    return moment


def _cell(row: _Row, column: str, parse: Callable[[Any], _Value]) -> _Value:
    try:
        return parse(row.get(column))
    except cells.CellError as error:
        raise FocusRowError(f"{column} {error}") from None


def _require_valid_unicode(text: str) -> None:
    """Refuse half a surrogate pair, which JSON can spell and no database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FocusRowError(f"{text[:40]!r} is not valid Unicode") from None
