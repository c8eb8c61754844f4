"""What the points of a series that carries cost come to, whatever the order in which they arrive.

Pure. A backend calls this inside the transaction that stores the points, and gives it what it has
of the same series: the amount of a point depends on the one before it, so a point that comes late
changes the amount of the one after it as well. What is stored in the end depends on the points
alone, not on when they came or how they were cut into batches.

All arithmetic is decimal, on the shortest decimal number that a double stands for, and is rounded
to `QUANTUM` once for each point: of a total before differences are taken, so that increases add up
to it exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation, Overflow
from typing import Final

from exporter.errors import RowRefusedError
from exporter.model import CostBasis, CostCursor, CostEntry, CostPoint, CostSample, SeriesPoint

__all__ = [
    "QUANTUM",
    "billing_period",
    "compute_entries",
    "compute_series_entries",
    "merge_cursors",
    "quantize_amount",
]

QUANTUM: Final = Decimal("1e-9")
_LARGEST: Final = Decimal(10**18)  # so that whole units fit 64 bits with sign
# Of a product of a double (17 digits, below 1e18) and a price; nothing in between is rounded.
_EXACT: Final = Context(prec=100, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, Overflow])
_NANOSECONDS_PER_MICROSECOND: Final = 1_000
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_NANOSECONDS_PER_HOUR: Final = Decimal(3_600 * _NANOSECONDS_PER_SECOND)
_ID_MASK: Final = 2**64 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING: Final = Decimal(0)


# Stored points of a series from the last one before a time to the first one after another, both
# in nanoseconds; in order of time.
Between = Callable[[int, int, int], Sequence[CostPoint]]


def compute_entries(
    samples: Iterable[CostSample], cursors: Mapping[int, CostCursor], between: Between
) -> tuple[list[CostEntry], list[CostCursor]]:
    """The entries that samples of any series make or change, and their cursors after that.

    Args:
        samples: in any order; of those with one series and microsecond the last is taken.
        cursors: by series id, of the series that have one.
        between: called for a series some sample of which is not newer than its cursor.

    Returns:
        Entries by time and id, each once; they take the place of those that are there. Cursors that
        changed, by series id.

    Raises:
        RowRefusedError: a value is not finite, or an amount too large to be kept.
    """
    by_series: dict[int, list[CostSample]] = {}
    for sample in samples:
        by_series.setdefault(sample.series_id, []).append(sample)
    entries: list[CostEntry] = []
    moved: list[CostCursor] = []
    for series_id in sorted(by_series):
        cursor = cursors.get(series_id)
        times = [_whole(sample.time_unix_nano) for sample in by_series[series_id]]
        stored: Sequence[CostPoint] = ()
        if cursor is not None and min(times) <= cursor.last.time_unix_nano:
            stored = between(series_id, min(times), max(times))
        made, cursor_after = compute_series_entries(by_series[series_id], cursor, stored)
        entries += made
        if cursor_after != cursor:
            moved.append(cursor_after)
    entries.sort(key=lambda one: (one.time_unix_nano, one.entry_id))
    return entries, moved


def compute_series_entries(
    samples: Sequence[CostSample], cursor: CostCursor | None, stored: Sequence[CostPoint]
) -> tuple[list[CostEntry], CostCursor]:
    """The entries that samples of one series make or change, and its cursor after that.

    A sample of the time of a stored point takes its place; with the same value it changes nothing.

    Args:
        samples: at least one, all of one series.
        cursor: of the series, None if it has none.
        stored: points from the last one before the samples to the first one after them.
    """
    series_id = samples[0].series_id
    known = {point.time_unix_nano: point for point in stored}
    if cursor is not None:
        known.setdefault(cursor.last.time_unix_nano, cursor.last)
    came = {point.time_unix_nano: point for point in map(_point, samples)}
    bases = {_whole(sample.time_unix_nano): sample.basis for sample in samples}
    # What only the cursor tells of is deleted, and stays so.
    changeable = came.keys() | {point.time_unix_nano for point in stored}
    chain = sorted((known | came).values())
    changed = {time for time, point in came.items() if known.get(time) != point}
    begins = cursor is None or chain[0].time_unix_nano <= cursor.first_time_unix_nano
    entries: list[CostEntry] = []
    before: CostPoint | None = None
    for point in chain:
        is_next = before is not None and before.time_unix_nano in changed
        if point.time_unix_nano in changed or (is_next and point.time_unix_nano in changeable):
            basis = bases.get(point.time_unix_nano, samples[-1].basis)
            # Where the one before is deleted, its cost is as well, and this is counted from.
            is_counted = before is not None or begins or basis.kind == "amount"
            amount = _amount(basis, before, point) if is_counted else _NOTHING
            entries.append(_entry(series_id, basis, point, amount))
        before = point
    first = chain[0].time_unix_nano
    if cursor is not None:
        first = min(first, cursor.first_time_unix_nano)
    return entries, CostCursor(series_id, first, chain[-1])


def merge_cursors(
    cursors: Iterable[CostCursor], known: Mapping[int, CostCursor]
) -> list[CostCursor]:
    """How far series have come here and elsewhere, taken together, by series id.

    Args:
        cursors: from elsewhere.
        known: by series id, of those of these series that have one here.
    """
    joined = dict(known)
    for cursor in cursors:
        here = joined.get(cursor.series_id)
        joined[cursor.series_id] = cursor if here is None else here.merge(cursor)
    return [joined[series_id] for series_id in sorted(joined)]


def quantize_amount(amount: Decimal) -> Decimal:
    """An amount as stores keep it.

    Raises:
        RowRefusedError: it is not finite, or 10^18 and more.
    """
    if not amount.is_finite() or abs(amount) >= _LARGEST:
        raise RowRefusedError(
            f"the amount of a cost is {amount}; it must be a number between -10^18 and 10^18"
        )
    return amount.quantize(QUANTUM, context=_EXACT)


def billing_period(time_unix_nano: int) -> str:
    """The month of a time in UTC, such as "2026-11"."""
    moment = _EPOCH + timedelta(seconds=time_unix_nano // _NANOSECONDS_PER_SECOND)
    return f"{moment:%Y-%m}"


def _amount(basis: CostBasis, before: CostPoint | None, point: CostPoint) -> Decimal:
    if basis.kind == "amount":
        return _scaled(basis, point.value)
    if basis.kind == "hourly_rate":
        return _NOTHING if before is None else _charge(basis, before, point)
    return _increase(basis, before, point)


def _increase(basis: CostBasis, before: CostPoint | None, point: CostPoint) -> Decimal:
    """Of a total since the point before it.

    It began at 0 at its start time (OpenTelemetry data model, "Resets and gaps"). A first point
    whose start is unknown, which is also what a start equal to its time says, is what the others
    are counted from.
    """
    total = _scaled(basis, point.value)
    start = point.start_time_unix_nano
    if before is None:
        return total if 0 < start < point.time_unix_nano else _NOTHING
    if basis.is_monotonic and point.value < before.value:
        return total
    if start > before.time_unix_nano:
        return total if start < point.time_unix_nano else _NOTHING
    # Again at once, in the same microsecond. Where the one before says that start too, it was first
    # seen then, and its total is what this is counted from.
    if start == before.time_unix_nano and 0 < before.start_time_unix_nano < start:
        return total
    return total - _scaled(basis, before.value)


def _charge(basis: CostBasis, before: CostPoint, point: CostPoint) -> Decimal:
    """Of a rate for the time since the point before it, as far as that is not too long."""
    longest = round(basis.staleness_seconds * _NANOSECONDS_PER_SECOND)
    paid_nanoseconds = min(point.time_unix_nano - before.time_unix_nano, longest)
    rate = _EXACT.multiply(_decimal(point.value), basis.factor)
    charge = _EXACT.multiply(rate, Decimal(paid_nanoseconds))
    return quantize_amount(_EXACT.divide(charge, _NANOSECONDS_PER_HOUR))


def _scaled(basis: CostBasis, value: float) -> Decimal:
    return quantize_amount(_EXACT.multiply(_decimal(value), basis.factor))


def _decimal(value: float) -> Decimal:
    if not math.isfinite(value):
        raise RowRefusedError(f"a cost has the value {value}; it must be a finite number")
    return Decimal(repr(float(value)))


def _point(sample: CostSample) -> CostPoint:
    return CostPoint(
        _whole(sample.time_unix_nano), _whole(sample.start_time_unix_nano), float(sample.value)
    )


def _whole(unix_nano: int) -> int:
    """A time in the resolution of every store, so that what comes back is equal to what went."""
    return unix_nano - unix_nano % _NANOSECONDS_PER_MICROSECOND


def _entry(series_id: int, basis: CostBasis, point: CostPoint, amount: Decimal) -> CostEntry:
    micros = point.time_unix_nano // _NANOSECONDS_PER_MICROSECOND
    return CostEntry(
        entry_id=f"series-{series_id & _ID_MASK:016x}-{micros}",
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
