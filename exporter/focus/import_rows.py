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
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

import xxhash

from exporter.costs.entry_calculation import billing_period, quantize_amount
from exporter.costs.entry_fields import DEFAULT_CATEGORY, parse_currency
from exporter.costs.rules import notional_currency
from exporter.costs.stored_basis import parse_basis
from exporter.focus import cells
from exporter.focus import specification as spec
from exporter.model import CostEntry, CostPoint, CostSource, SeriesPoint
from exporter.time_units import to_nanos

CostColumn = Literal["BilledCost", "EffectiveCost"]

_Row = Mapping[str, Any]
_Value = TypeVar("_Value")
_EARLIEST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)  # 64 bits of nanoseconds end in that year
_MAX_AMOUNT: Final = Decimal(10**15)
_AS_TEXT: Final = "a tag with its text"
_AS_NOTHING: Final = "nothing"
_COUNT_ROW: Final = """
    INSERT INTO rows (digest) VALUES (?)
    ON CONFLICT (digest) DO UPDATE SET seen = seen + 1
    RETURNING seen
"""


class FocusRowError(Exception):
    """A row cannot be a cost entry; the message says which column and why."""


class OddCell(NamedTuple):
    """A cell that only describes a cost and does not conform.

    Attributes:
        column: of the cell.
        stored_as: what the entry has instead.
    """

    column: str
    stored_as: str


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
            texts = {name: cells.raw_text(value) for name, value in row.items()}
            present = {name: text for name, text in texts.items() if text is not None}
            digest = xxhash.xxh3_128(cells.to_json(present).encode("utf-8", "surrogatepass"))
            ((seen,),) = connection.execute(_COUNT_ROW, (digest.digest(),)).fetchall()
            return f"focus-{digest.hexdigest()}" + ("" if seen == 1 else f"-{seen}")

        yield next_id


def row_to_entry(
    row: _Row,
    make_entry_id: Callable[[], str],
    cost_column: CostColumn,
    report_odd: Callable[[OddCell], None] = lambda _: None,
) -> CostEntry:
    """The cost entry of a row.

    Args:
        row: its cells by column; columns that FOCUS 1.2 does not define are ignored.
        make_entry_id: called for a row that has no entry id of its own.
        cost_column: which cost is the amount.
        report_odd: called for each cell that only describes the cost and does not conform.

    Raises:
        FocusRowError: how much the row costs, in which currency, or when, cannot be known.
    """
    # The csv module puts cells beyond the header under the key None.
    if None in row or (row and all(value is None for value in row.values())):
        raise FocusRowError("the line has more cells than the header, or none")
    return _RowReader(row, report_odd).entry(make_entry_id, cost_column)


class _RowReader:
    """Reads the fields of an entry from one row."""

    def __init__(self, row: _Row, report_odd: Callable[[OddCell], None]) -> None:
        self._row = row
        self._report_odd = report_odd

    def entry(self, make_entry_id: Callable[[], str], cost_column: CostColumn) -> CostEntry:
        """See `row_to_entry`."""
        entry_id = self._text("x_EntryId")
        source = self._source() if entry_id is not None else "focus"
        charge_start = self._charge_start()
        amount, currency = self._amount(cost_column), self._currency()
        month = self._month(charge_start)
        tags = self._tags()
        if source == "focus":
            tags = self._with_column_tags(tags, amount, month)
        # An export fills ServiceName, which must not be null, with the category if there is no
        # name.
        is_exported = entry_id is not None and "x_ServiceName" in self._row
        time = self._time("x_Time") or charge_start
        period_start, period_end = self._period(charge_start, source)
        return CostEntry(
            entry_id=entry_id or make_entry_id(),
            time_unix_nano=to_nanos(time),
            resource_id=self._text("ResourceId") or "",
            category=self._category(),
            amount=amount,
            currency=currency,
            region=self._text("RegionId"),
            cluster_id=self._text("x_ClusterId") or "default",
            node_id=self._text("x_NodeId") or "default",
            service_name=self._text("x_ServiceName" if is_exported else "ServiceName"),
            tags=cells.valid_unicode(cells.to_json(tags)),
            description=self._text("ChargeDescription") or "",
            billing_period=self._text("x_BillingPeriod") or month,
            source=source,
            source_name=(self._text("x_SourceName") or "") if is_exported else "",
            period_start_unix_nano=0 if period_start is None else to_nanos(period_start),
            period_end_unix_nano=to_nanos(period_end or time),
            derived_from=self._point(period_end) if is_exported else None,
        )

    def _period(
        self, charge_start: datetime, source: CostSource
    ) -> tuple[datetime | None, datetime | None]:
        """The period of an exported entry or, of a row of a bill, its charge period."""
        exported_end = self._time("x_PeriodEnd")
        if exported_end is not None:
            return self._time("x_PeriodStart"), exported_end
        end = self._time("ChargePeriodEnd")
        if source != "focus" or end is None or end <= charge_start:
            return None, None
        return charge_start, end

    def _point(self, period_end: datetime | None) -> SeriesPoint | None:
        """The point that an exported entry was derived from; None unless its columns are whole."""
        value, series_id = self._text("x_PointValue"), self._text("x_SeriesId")
        if period_end is None or value is None or series_id is None:
            return None
        basis, count = self._text("x_Basis"), self._text("x_PointCount")
        stream_start, start = self._time("x_StreamStart"), self._time("x_PointStart")
        try:
            point = CostPoint(
                to_nanos(period_end),
                0 if start is None else to_nanos(start),
                float(value),
                None if count is None else int(count),
            )
            return SeriesPoint(
                int(series_id),
                0 if stream_start is None else to_nanos(stream_start),
                point,
                None if basis is None else parse_basis(basis),
                replaces=False,
            )
        except (ValueError, TypeError, KeyError, InvalidOperation):
            return None

    def _source(self) -> CostSource:
        """The source of an entry that has an id; another system's x_Source is ignored."""
        text = self._text("x_Source")
        sources: tuple[CostSource, ...] = get_args(CostSource)
        return next((source for source in sources if source == text), "focus")

    def _amount(self, cost_column: CostColumn) -> Decimal:
        """The amount as stores keep it. If the bill has more digits, they are kept in a tag."""
        column = cost_column if self._text("x_Amount") is None else "x_Amount"
        amount = self._cell(column, cells.read_decimal)
        if amount is None:
            raise FocusRowError(f"{column} is missing")
        if abs(amount) >= _MAX_AMOUNT:
            raise FocusRowError(f"{column} is {str(amount)[:40]}, which is not below 10^15")
        return quantize_amount(amount)

    def _currency(self) -> str:
        text = self._text("BillingCurrency")
        if text is None:
            raise FocusRowError("BillingCurrency is missing")
        currency = parse_currency(text)
        if currency is not None:
            return currency
        # An export has what nobody is billed for in a currency of its own.
        currency = parse_currency(text[:3])
        if currency is not None and text == notional_currency(currency):
            return text
        raise FocusRowError(f"BillingCurrency {text[:40]!r} is not an ISO 4217 currency")

    def _charge_start(self) -> datetime:
        """ChargePeriodStart or, if there is none, the start of the billing period."""
        moment = self._cell("ChargePeriodStart", cells.read_time)
        if moment is None:
            moment = self._time("BillingPeriodStart")
            if moment is None:
                raise FocusRowError("ChargePeriodStart is missing")
            self._report_odd(OddCell("ChargePeriodStart", "BillingPeriodStart"))
        if not _EARLIEST <= moment < _LATEST:
            raise FocusRowError(
                f"ChargePeriodStart is {moment.isoformat()}, before 1970 or after 2261"
            )
        return moment

    def _month(self, charge_start: datetime) -> str:
        """The month in which the billing period begins; that of the charge if it is unknown."""
        start = self._time("BillingPeriodStart")
        if start is None:
            self._report_odd(OddCell("BillingPeriodStart", "the month of ChargePeriodStart"))
        return billing_period(to_nanos(start or charge_start))

    def _category(self) -> str:
        category = self._text("x_Category")
        if category is not None:
            return category
        service_category = self._text("ServiceCategory")
        if service_category is None:
            self._report_odd(OddCell("ServiceCategory", DEFAULT_CATEGORY))
            return DEFAULT_CATEGORY
        return spec.entry_category(service_category)

    def _tags(self) -> dict[str, Any]:
        try:
            return cells.read_tags(self._row.get("Tags"))
        except cells.CellError:
            self._report_odd(OddCell("Tags", _AS_TEXT))
            return {f"{spec.TAG_PREFIX}Tags": cells.read_text(self._row["Tags"])}

    def _with_column_tags(
        self, tags: Mapping[str, Any], amount: Decimal, month: str
    ) -> dict[str, Any]:
        """The tags, and columns that an entry has no field for as tags."""
        column_tags = {
            f"{spec.TAG_PREFIX}{name}": text
            for name in sorted(spec.TAG_COLUMNS & self._row.keys())
            if (text := self._tag_text(name, amount, month)) is not None
        }
        for name in sorted(column_tags.keys() & tags.keys()):
            self._report_odd(OddCell("Tags", f"{spec.TAG_PREFIX}Tags.{name}"))
        named = {
            f"{spec.TAG_PREFIX}Tags.{name}" if name in column_tags else name: value
            for name, value in tags.items()
        }
        return named | column_tags

    def _tag_text(self, name: str, amount: Decimal, month: str) -> str | None:
        """The text of a column for its tag; None if it is empty, or an export would compute it."""
        text = self._text(name)
        if text is None:
            return None
        try:
            if name in spec.DECIMAL_COLUMNS:
                return _decimal_tag(name, cells.read_decimal(text), amount)
            if name in spec.TIME_COLUMNS:
                return _time_tag(name, cells.read_time(text), month)
        except cells.CellError:
            stored_as = _AS_NOTHING if text.strip().lower() == "nan" else _AS_TEXT
            if name != "BillingPeriodStart":  # `_month` has reported it
                self._report_odd(OddCell(name, stored_as))
            return text if stored_as == _AS_TEXT else None
        computed = spec.unknown_subcategory(self._text("ServiceCategory") or "")
        return None if name == "ServiceSubcategory" and text == computed else text

    def _time(self, column: str) -> datetime | None:
        """The time in a cell; None if there is none that can be stored."""
        try:
            moment = cells.read_time(self._row.get(column))
        except cells.CellError:
            moment = None
        return moment if moment is not None and _EARLIEST <= moment < _LATEST else None

    def _text(self, column: str) -> str | None:
        text = cells.read_text(self._row.get(column))
        return None if text is None else cells.valid_unicode(text)

    def _cell(self, column: str, parse: Callable[[Any], _Value]) -> _Value:
        try:
            return parse(self._row.get(column))
        except cells.CellError as error:
            raise FocusRowError(f"{column} {error}") from None


def _decimal_tag(name: str, number: Decimal | None, amount: Decimal) -> str | None:
    is_amount = name in spec.COST_COLUMNS and number == amount
    return None if number is None or is_amount else f"{cells.plain_decimal(number):f}"


def _time_tag(name: str, moment: datetime | None, month: str) -> str | None:
    is_computed = name.startswith("Billing") and moment in spec.month_bounds(month)
    return None if moment is None or is_computed else moment.isoformat()
