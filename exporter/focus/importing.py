"""A row of a bill as a cost entry.

What an entry has no field for, such as ProviderName, is kept as a tag `focus.ProviderName`, so that
costs can be grouped by it and an export says it again. A row that was exported from here carries
the entry's own fields in its `x_` columns, and becomes that entry again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeVar, get_args

from exporter.costs.amounts import quantize_amount
from exporter.costs.entry_fields import parse_currency
from exporter.focus.categories import category_of, unknown_subcategory
from exporter.focus.cells import CellError, canonical, decimal_of, plain, tags_of, text_of, time_of
from exporter.focus.columns import DECIMALS, KEPT, TIMES
from exporter.focus.months import month_bounds, month_of
from exporter.model import CostEntry, CostSource

__all__ = ["TAG_PREFIX", "CostColumn", "FocusRowError", "row_to_entry"]

CostColumn = Literal["BilledCost", "EffectiveCost"]
TAG_PREFIX: Final = "focus."

_Row = Mapping[str, Any]
_Value = TypeVar("_Value")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)  # nanoseconds are counted in 64 bits
_COSTS: Final = ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")
_LARGEST: Final = Decimal(10**15)


class FocusRowError(Exception):
    """A row cannot be a cost entry; the message says which column and why."""


def row_to_entry(row: _Row, entry_id: Callable[[], str], cost_column: CostColumn) -> CostEntry:
    """The cost entry that a row stands for.

    Args:
        row: its cells by column; columns that FOCUS 1.2 does not have are left out of account.
        entry_id: makes an id, where the row has none of its own.
        cost_column: which cost is the amount.

    Raises:
        FocusRowError: the row does not conform.
    """
    if None in row or (row and all(value is None for value in row.values())):
        raise FocusRowError("the line has more cells than the header, or none")
    entry = _entry(row, entry_id, cost_column)
    for field in (entry.entry_id, entry.resource_id, entry.tags, entry.description):
        _require_storable(field)
    return entry


def _entry(row: _Row, entry_id: Callable[[], str], cost_column: CostColumn) -> CostEntry:
    source = _source(row)
    start = _time(row, "ChargePeriodStart")
    amount = _amount(row, cost_column)
    period = text_of(row.get("x_BillingPeriod"))
    tags = _cell(row, "Tags", tags_of)
    if source == "focus":
        tags |= _kept(row, amount, tags)
    return CostEntry(
        entry_id=text_of(row.get("x_EntryId")) or entry_id(),
        time_unix_nano=_unix_nano(_cell(row, "x_Time", time_of) or start),
        resource_id=text_of(row.get("ResourceId")) or "",
        category=text_of(row.get("x_Category")) or category_of(_text(row, "ServiceCategory")),
        amount=amount,
        currency=_currency(row),
        region=text_of(row.get("RegionId")),
        cluster_id=text_of(row.get("x_ClusterId")) or "default",
        node_id=text_of(row.get("x_NodeId")) or "default",
        service_name=_service_name(row),
        tags=canonical(tags),
        description=text_of(row.get("ChargeDescription")) or "",
        billing_period=period or month_of(_time(row, "BillingPeriodStart")),
        source=source,
    )


def _source(row: _Row) -> CostSource:
    """Where the entry came from; another system's x_Source says nothing."""
    given = text_of(row.get("x_Source"))
    known: tuple[CostSource, ...] = get_args(CostSource)
    if text_of(row.get("x_EntryId")) is None:
        return "focus"
    return next((one for one in known if one == given), "focus")


def _service_name(row: _Row) -> str | None:
    # An export fills ServiceName, which must not be null, with something else where need be.
    exported = "x_ServiceName" in row and text_of(row.get("x_EntryId")) is not None
    return text_of(row.get("x_ServiceName" if exported else "ServiceName"))


def _amount(row: _Row, cost_column: CostColumn) -> Decimal:
    # As stores keep it; where the bill has more places, what it says is kept as a tag.
    column = "x_Amount" if text_of(row.get("x_Amount")) is not None else cost_column
    amount = _cell(row, column, decimal_of)
    if amount is None:
        raise FocusRowError(f"{column} is missing")
    if abs(amount) >= _LARGEST:
        raise FocusRowError(f"{column} is {str(amount)[:40]}, which is larger than 10^15")
    return quantize_amount(amount)


def _currency(row: _Row) -> str:
    text = _text(row, "BillingCurrency")
    currency = parse_currency(text)
    if currency is None:
        raise FocusRowError(f"BillingCurrency {text[:40]!r} is none of ISO 4217")
    return currency


def _kept(row: _Row, amount: Decimal, tags: Mapping[str, Any]) -> dict[str, str]:
    """What the row says in columns that an entry has no field for, as tags."""
    kept = {
        f"{TAG_PREFIX}{name}": text
        for name in sorted(KEPT & row.keys())
        if (text := _kept_text(row, name, amount)) is not None
    }
    taken = sorted(kept.keys() & tags.keys())
    if taken:
        raise FocusRowError(f"Tags has {taken[0]!r}, which stands for the column; rename the tag")
    return kept


def _kept_text(row: _Row, name: str, amount: Decimal) -> str | None:
    if name in DECIMALS:
        number = _cell(row, name, decimal_of)
        is_amount = name in _COSTS and number == amount
        return None if number is None or is_amount else f"{plain(number):f}"
    if name in TIMES:
        moment = _cell(row, name, time_of)
        is_of_month = name.startswith("Billing") and moment in _month(row)
        return None if moment is None or is_of_month else moment.isoformat()
    text = text_of(row.get(name))
    is_unknown = name == "ServiceSubcategory" and text == unknown_subcategory(_service(row))
    return None if is_unknown else text


def _service(row: _Row) -> str:
    return text_of(row.get("ServiceCategory")) or ""


def _month(row: _Row) -> tuple[datetime, datetime]:
    """The bounds of the month that the billing period begins in."""
    return month_bounds(month_of(_time(row, "BillingPeriodStart")))


def _text(row: _Row, column: str) -> str:
    text = text_of(row.get(column))
    if text is None:
        raise FocusRowError(f"{column} is missing")
    return text


def _time(row: _Row, column: str) -> datetime:
    moment = _cell(row, column, time_of)
    if moment is None:
        raise FocusRowError(f"{column} is missing")
    if not _EARLIEST <= moment < _LATEST:
        raise FocusRowError(f"{column} is {moment.isoformat()}, before 1970 or after 2261")
    return moment


def _cell(row: _Row, column: str, parse: Callable[[Any], _Value]) -> _Value:
    try:
        return parse(row.get(column))
    except CellError as error:
        raise FocusRowError(f"{column} {error}") from None


def _unix_nano(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1_000


def _require_storable(text: str) -> None:
    """Half a surrogate pair, which JSON may spell, is nothing that a database takes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FocusRowError(f"{text[:40]!r} is not valid Unicode") from None
