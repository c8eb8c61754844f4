"""The amount of each cost entry, computed from the points of its series. Pure and exact.

The amount of a point depends on the point before it in time. What is stored in the end must depend
on the points alone, not on the order in which they arrived or on the batches they came in. So a
backend calls this inside the transaction that stores the samples, with the stored points of the
same series, and a point that arrives late also changes the entry after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, Overflow
from typing import Final

from exporter.errors import RowRefusedError
from exporter.model import CostBasis, CostCursor, CostEntry, CostPoint, CostSample, SeriesPoint
from exporter.time_units import (
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MICROSECOND,
    NANOSECONDS_PER_SECOND,
    from_nanos,
)

AMOUNT_QUANTUM: Final = Decimal("1e-18")
"""Every amount is rounded once to a multiple of this."""

RATE_QUANTUM: Final = Decimal("1e-9")
"""The amounts of hourly rates are rounded to a multiple of this."""

# The whole units of an amount fit into a signed 64-bit integer.
_AMOUNT_LIMIT: Final = Decimal(10**18)
# The product of a double (17 digits, below 1e18) and a price has fewer digits: it is not rounded.
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
_ZERO: Final = Decimal(0)
_UINT64_MASK: Final = 2**64 - 1

# Called with a series id and two times in nanoseconds. Returns the stored points of the series in
# order of time, from the last one before the first time to the first one after the second.
FetchStoredPoints = Callable[[int, int, int], Sequence[CostPoint]]


def compute_entries(
    samples: Iterable[CostSample],
    cursors: Mapping[int, CostCursor],
    fetch_stored_points: FetchStoredPoints,
) -> tuple[list[CostEntry], list[CostCursor]]:
    """The entries that samples of any series create or change, and the cursors after that.

    Args:
        samples: in any order; of several with one series and microsecond the last counts.
        cursors: by series id, of the series that have one.
        fetch_stored_points: called for a series only if a sample is not newer than its cursor.

    Returns:
        Entries by time and id, each once; they replace stored ones with the same id and time. Then
        the cursors that changed, by series id.

    Raises:
        RowRefusedError: a value is not finite, or an amount is too large to store.
    """
    samples_by_series: dict[int, list[CostSample]] = {}
    for sample in samples:
        samples_by_series.setdefault(sample.series_id, []).append(sample)
    entries: list[CostEntry] = []
    changed_cursors: list[CostCursor] = []
    for series_id in sorted(samples_by_series):
        series_samples = samples_by_series[series_id]
        cursor = cursors.get(series_id)
        times = [_whole_micros(sample.time_unix_nano) for sample in series_samples]
        stored_points: Sequence[CostPoint] = ()
        # Points newer than the cursor need no look-up, which is the usual case.
        if cursor is not None and min(times) <= cursor.last.time_unix_nano:
            stored_points = fetch_stored_points(series_id, min(times), max(times))
        series_entries, cursor_after = compute_series_entries(series_samples, cursor, stored_points)
        entries += series_entries
        if cursor_after != cursor:
            changed_cursors.append(cursor_after)
    entries.sort(key=lambda entry: (entry.time_unix_nano, entry.entry_id))
    return entries, changed_cursors


def compute_series_entries(
    samples: Sequence[CostSample], cursor: CostCursor | None, stored_points: Sequence[CostPoint]
) -> tuple[list[CostEntry], CostCursor]:
    """The entries that samples of one series create or change, and its cursor after that.

    A sample replaces a stored point with its time. If both are equal, nothing changes.

    Args:
        samples: at least one, all of one series.
        cursor: of the series, None if it has none.
        stored_points: from the last one before the samples to the first one after them.
    """
    series_id = samples[0].series_id
    known_points = {point.time_unix_nano: point for point in stored_points}
    if cursor is not None:
        known_points.setdefault(cursor.last.time_unix_nano, cursor.last)
    new_points = {point.time_unix_nano: point for point in map(_point, samples)}
    bases = {_whole_micros(sample.time_unix_nano): sample.basis for sample in samples}
    changed_times = {time for time, point in new_points.items() if known_points.get(time) != point}
    # Skip the point that is known only from the cursor: retention has deleted its entry.
    writable_times = new_points.keys() | {point.time_unix_nano for point in stored_points}
    timeline = sorted((known_points | new_points).values())
    oldest_time = timeline[0].time_unix_nano
    starts_series = cursor is None or oldest_time <= cursor.first_time_unix_nano
    entries: list[CostEntry] = []
    previous: CostPoint | None = None
    for point in timeline:
        time = point.time_unix_nano
        follows_change = previous is not None and previous.time_unix_nano in changed_times
        if time in changed_times or (follows_change and time in writable_times):
            basis = bases.get(time, samples[-1].basis)
            # If retention deleted the previous point, the increase is unknown and is taken as 0.
            # Using the whole total would count earlier costs twice.
            is_known = previous is not None or starts_series or basis.kind == "amount"
            amount = _amount(basis, previous, point) if is_known else _ZERO
            entries.append(_entry(series_id, basis, point, amount))
        previous = point
    if cursor is not None:
        oldest_time = min(oldest_time, cursor.first_time_unix_nano)
    return entries, CostCursor(series_id, oldest_time, timeline[-1])


def merge_cursors(
    cursors: Iterable[CostCursor], stored_cursors: Mapping[int, CostCursor]
) -> list[CostCursor]:
    """The cursors of this store and of another one, merged, by series id.

    Args:
        cursors: from the other store.
        stored_cursors: the cursors of this store for the same series, by series id.
    """
    merged = dict(stored_cursors)
    for cursor in cursors:
        stored = merged.get(cursor.series_id)
        merged[cursor.series_id] = cursor if stored is None else stored.merge(cursor)
    return [merged[series_id] for series_id in sorted(merged)]


def quantize_amount(amount: Decimal, quantum: Decimal = AMOUNT_QUANTUM) -> Decimal:
    """An amount rounded to what a store keeps.

    Raises:
        RowRefusedError: it is not finite, or its absolute value is 10^18 or more.
    """
    if not amount.is_finite() or amount.copy_abs() >= _AMOUNT_LIMIT:
        raise RowRefusedError(
            f"the amount of a cost is {amount}; it must be a number between -10^18 and 10^18"
        )
    return amount.quantize(quantum, context=_EXACT)


def billing_period(time_unix_nano: int) -> str:
    """The month of a time in UTC, such as "2026-11"."""
    return f"{from_nanos(time_unix_nano):%Y-%m}"


def _amount(basis: CostBasis, previous: CostPoint | None, point: CostPoint) -> Decimal:
    if basis.kind == "quantity":
        return _ZERO
    if basis.kind == "amount":
        return _price(basis, point.value)
    if basis.kind == "hourly_rate":
        return _ZERO if previous is None else _hourly_charge(basis, previous, point)
    return _increase(basis, previous, point)


def _increase(basis: CostBasis, previous: CostPoint | None, point: CostPoint) -> Decimal:
    """The increase of a total since the point before it.

    A total is 0 at its start time (OpenTelemetry data model, "Resets and gaps"). A start time of 0,
    and one equal to the time of the point, say that the start is unknown.
    """
    # Rounded before the difference is taken, so that increases add up to the rounded total.
    total = _price(basis, point.value)
    start = point.start_time_unix_nano
    if previous is None:
        return total if 0 < start < point.time_unix_nano else _ZERO
    if basis.is_monotonic and point.value < previous.value:
        return total
    if start > previous.time_unix_nano:
        return total if start < point.time_unix_nano else _ZERO
    # The total restarted in the microsecond of the previous point. If the previous point has this
    # start time too, it is the first point of the same total, whose increase is counted from it.
    if start == previous.time_unix_nano and 0 < previous.start_time_unix_nano < start:
        return total
    return total - _price(basis, previous.value)


def _hourly_charge(basis: CostBasis, previous: CostPoint, point: CostPoint) -> Decimal:
    """The charge of an hourly rate for the time since the point before, up to the staleness."""
    max_nanoseconds = round(basis.staleness_seconds * NANOSECONDS_PER_SECOND)
    nanoseconds = min(point.time_unix_nano - previous.time_unix_nano, max_nanoseconds)
    rate = _EXACT.multiply(_decimal(point.value), basis.factor)
    charge = _EXACT.multiply(rate, Decimal(nanoseconds))
    return quantize_amount(_EXACT.divide(charge, Decimal(NANOSECONDS_PER_HOUR)), RATE_QUANTUM)


def _price(basis: CostBasis, value: float) -> Decimal:
    return quantize_amount(_EXACT.multiply(_decimal(value), basis.factor))


def _decimal(value: float) -> Decimal:
    """The shortest decimal that reads back as this double."""
    if not math.isfinite(value):
        raise RowRefusedError(f"a cost has the value {value}; it must be a finite number")
    return Decimal(repr(float(value)))


def _point(sample: CostSample) -> CostPoint:
    return CostPoint(
        _whole_micros(sample.time_unix_nano),
        _whole_micros(sample.start_time_unix_nano),
        float(sample.value),
    )


def _whole_micros(unix_nano: int) -> int:
    """A time rounded down to a microsecond, as stores keep it, so that stored times are equal."""
    return unix_nano - unix_nano % NANOSECONDS_PER_MICROSECOND


def _entry(series_id: int, basis: CostBasis, point: CostPoint, amount: Decimal) -> CostEntry:
    micros = point.time_unix_nano // NANOSECONDS_PER_MICROSECOND
    return CostEntry(
        entry_id=f"series-{series_id & _UINT64_MASK:016x}-{micros}",
        time_unix_nano=point.time_unix_nano,
        resource_id=basis.resource_id,
        category=basis.category,
        amount=amount,
        currency=basis.currency,
        region=basis.region,
        cluster_id=basis.cluster_id,
        node_id=basis.node_id,
        service_name=basis.service_name,
        tags=basis.tags,
        description=basis.description,
        billing_period=billing_period(point.time_unix_nano),
        source=basis.source,
        derived_from=SeriesPoint(series_id, point.start_time_unix_nano, point.value),
    )
