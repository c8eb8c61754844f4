"""The amount of each cost entry. Pure and exact: no clock, no memory of earlier calls.

An amount is a function of its own point, the basis stored with it, and the point before it in its
stream (`exporter.costs.streams`). A backend calls this in the transaction that stores the samples.
A point that arrives late also changes the entry after it, so the stored entries never depend on
the order in which points arrived (docs/decisions/0009-cost-streams.md).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, Overflow
from functools import lru_cache
from typing import Final

from exporter.costs.streams import UNKNOWN_START, has_restarted
from exporter.errors import RowRefusedError
from exporter.model import CostBasis, CostEntry, CostPoint, CostSample, SeriesPoint
from exporter.time_units import (
    NANOSECONDS_PER_DAY,
    NANOSECONDS_PER_HOUR,
    NANOSECONDS_PER_MICROSECOND,
    NANOSECONDS_PER_SECOND,
    from_nanos,
)

AMOUNT_QUANTUM: Final = Decimal("1e-18")
"""Every amount is rounded once to a multiple of this."""

RATE_QUANTUM: Final = Decimal("1e-9")
"""The amounts of hourly rates are rounded to a multiple of this."""

EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
"""Rounds no amount, no sum of amounts and no product of a double and a price.

All of them have fewer digits.
"""

# The whole units of an amount fit into a signed 64-bit integer.
_AMOUNT_LIMIT: Final = Decimal(10**18)
_ZERO: Final = Decimal(0)
_ONE: Final = Decimal(1)
_NANOSECONDS_PER_HOUR: Final = Decimal(NANOSECONDS_PER_HOUR)
_UINT64_MASK: Final = 2**64 - 1


def cost_of(
    basis: CostBasis,
    stream_start: int,
    previous: CostPoint | None,
    point: CostPoint,
    quantities: Sequence[CostPoint] = (),
) -> tuple[Decimal, int]:
    """What a point costs, and the start of the period that it pays for.

    Args:
        basis: stored with the point.
        stream_start: names its stream.
        previous: the point before it in the stream.
        point: the point.
        quantities: the points of `basis.quantity_id` sorted by time, with at least the last two up
            to the time of the point, if there are two.

    Returns:
        The amount, and the start of the period in nanoseconds, 0 if unknown.

    Raises:
        RowRefusedError: a value is not finite, or the amount is too large to store.
    """
    if basis.kind == "cumulative":
        return _increase(basis, stream_start, previous, point)
    if basis.kind == "amount":
        return _amount(basis, point.value), _start_before(point)
    if basis.kind == "quantity" or previous is None:
        return _ZERO, 0
    return _hourly_charge(basis, previous, point, quantities)


def quantity_at(quantities: Sequence[CostPoint], time_unix_nano: int) -> float | None:
    """The quantity at a time: that of the newest point up to it, until the next one is overdue.

    A sender repeats a quantity at an interval while it is in use. Once the interval between the
    last two points has passed without another point, the quantity is no longer in use. A single
    point has no interval, and holds until there is a second one.

    Args:
        quantities: sorted by time, from the second one before the time at the latest.
        time_unix_nano: the time.

    Returns:
        None if nothing is in use.
    """
    following = bisect_right(quantities, time_unix_nano, key=lambda point: point.time_unix_nano)
    if following == 0:
        return None
    current = quantities[following - 1]
    age = time_unix_nano - current.time_unix_nano
    if following > 1 and age > 0:
        interval = current.time_unix_nano - quantities[following - 2].time_unix_nano
        if age >= interval:
            return None
    return current.value


def quantize_amount(amount: Decimal, quantum: Decimal = AMOUNT_QUANTUM) -> Decimal:
    """An amount rounded to what a store keeps.

    Raises:
        RowRefusedError: it is not finite, or its absolute value is 10^18 or more.
    """
    if not amount.is_finite() or amount.copy_abs() >= _AMOUNT_LIMIT:
        raise RowRefusedError(
            f"the amount of a cost is {amount}; it must be a number between -10^18 and 10^18"
        )
    return amount.quantize(quantum, context=EXACT)


def billing_period(time_unix_nano: int) -> str:
    """The month of a time in UTC, such as "2026-11"."""
    return _month_of_day(time_unix_nano // NANOSECONDS_PER_DAY)


@lru_cache(maxsize=4_096)
def _month_of_day(day: int) -> str:
    return f"{from_nanos(day * NANOSECONDS_PER_DAY):%Y-%m}"


def sample_point(sample: CostSample) -> CostPoint:
    """The point of a sample as it is stored.

    Its times are whole microseconds. A start that is after the time, or that means nothing for the
    kind of the sample, is `UNKNOWN_START`.
    """
    time = sample.time_unix_nano - sample.time_unix_nano % NANOSECONDS_PER_MICROSECOND
    start = sample.start_time_unix_nano - sample.start_time_unix_nano % NANOSECONDS_PER_MICROSECOND
    has_start = sample.basis.has_known_starts and sample.basis.kind in {"amount", "cumulative"}
    if not has_start or start > time:
        start = UNKNOWN_START
    return CostPoint(time, start, float(sample.value), sample.count)


def derived_entry(
    series_id: int,
    stream_start: int,
    point: CostPoint,
    basis: CostBasis,
    cost: tuple[Decimal, int],
) -> CostEntry:
    """The entry of a point.

    It covers the time up to its point, this included. If that ends with a full hour, the timestamp
    is the last microsecond before, so that it is in the hour, day and month that the entry pays
    for.

    Args:
        series_id: of the sample.
        stream_start: names the stream of the point.
        point: the point.
        basis: by which its amount was computed.
        cost: amount and start of the period, as `cost_of` returns them.
    """
    amount, period_start_unix_nano = cost
    time = point.time_unix_nano
    start = point.start_time_unix_nano
    # An amount of a gauge arose at the time of its point, and not in a period before it.
    has_period = basis.kind != "amount" or basis.has_known_starts
    timestamp = time
    if has_period and time % NANOSECONDS_PER_HOUR == 0:
        timestamp -= NANOSECONDS_PER_MICROSECOND
    name = f"series-{series_id & _UINT64_MASK:016x}-{time // NANOSECONDS_PER_MICROSECOND}"
    return CostEntry(
        # Points of several processes can have one time; their starts tell them apart.
        entry_id=f"{name}-{start // NANOSECONDS_PER_MICROSECOND}" if start else name,
        time_unix_nano=timestamp,
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
        billing_period=billing_period(timestamp),
        source=basis.source,
        source_name=basis.source_name,
        period_start_unix_nano=period_start_unix_nano,
        period_end_unix_nano=time,
        derived_from=SeriesPoint(series_id, stream_start, point, basis),
    )


def distinct_points(samples: Iterable[CostSample]) -> tuple[dict[CostPoint, CostBasis], int]:
    """The points of samples of one series, with their bases.

    Of several points with one time and start the largest value counts, so that the result does not
    depend on their order.

    Returns:
        The points, and how many others had another value.
    """
    points: dict[tuple[int, int], tuple[CostPoint, CostBasis]] = {}
    conflicts = 0
    for sample in samples:
        point = sample_point(sample)
        known = points.get(point[:2])
        if known is not None:
            conflicts += known[0].value != point.value
            if known[0].value >= point.value:
                continue
        points[point[:2]] = (point, sample.basis)
    return dict(points.values()), conflicts


def _increase(
    basis: CostBasis, stream_start: int, previous: CostPoint | None, point: CostPoint
) -> tuple[Decimal, int]:
    """The increase of a total since the point before it in its stream."""
    # Rounded before the difference is taken, so that increases add up to the rounded total.
    total = _amount(basis, point.value)
    if previous is None:
        # A total with a known start is 0 there (OpenTelemetry data model, "Resets and gaps").
        if stream_start == UNKNOWN_START:
            return _ZERO, 0
        return total, _start_before(point)
    if has_restarted(basis, stream_start, previous, point):
        return total, previous.time_unix_nano
    # An exact context, because the usual one rounds differences to 28 digits.
    increase = EXACT.subtract(total, _amount(basis, previous.value))
    return increase, previous.time_unix_nano


def _hourly_charge(
    basis: CostBasis, previous: CostPoint, point: CostPoint, quantities: Sequence[CostPoint]
) -> tuple[Decimal, int]:
    """The charge of an hourly rate for the time since the point before, up to the staleness.

    It is the difference of two rounded charges since 1970, so that the charges of a constant rate
    add up to the rounded charge of the whole time.
    """
    max_nanoseconds = round(basis.staleness_seconds * NANOSECONDS_PER_SECOND)
    end = point.time_unix_nano
    start = max(previous.time_unix_nano, end - max_nanoseconds)
    rate = EXACT.multiply(_decimal(point.value), basis.factor)
    if basis.quantity_id is not None:
        quantity = quantity_at(quantities, end)
        rate = _ZERO if quantity is None else EXACT.multiply(rate, _decimal(quantity))
    if not rate:
        return _ZERO, start
    charge = EXACT.subtract(_charge_since_1970(rate, end), _charge_since_1970(rate, start))
    return charge, start


def _charge_since_1970(rate: Decimal, time_unix_nano: int) -> Decimal:
    """What a constant hourly rate would cost from 1970 to a time, rounded once."""
    charge = EXACT.multiply(rate, Decimal(time_unix_nano))
    return quantize_amount(EXACT.divide(charge, _NANOSECONDS_PER_HOUR), RATE_QUANTUM)


def _start_before(point: CostPoint) -> int:
    """The start of a point, 0 if it is unknown or the time of the point."""
    start = point.start_time_unix_nano
    return start if start < point.time_unix_nano else 0


def _amount(basis: CostBasis, value: float) -> Decimal:
    """What a value costs, rounded once."""
    amount = _decimal(value)
    if basis.factor != _ONE:
        amount = EXACT.multiply(amount, basis.factor)
    return quantize_amount(amount)


def _decimal(value: float) -> Decimal:
    """The shortest decimal that reads back as this double."""
    if not math.isfinite(value):
        raise RowRefusedError(f"a cost has the value {value}; it must be a finite number")
    return Decimal(repr(float(value)))
