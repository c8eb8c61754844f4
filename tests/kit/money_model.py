"""What points cost: the rules of docs/costs.md once more, from all points at once.

Imports nothing of the product, so that the two have no error in common. Times are microseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, localcontext
from itertools import groupby, pairwise
from typing import Literal, NamedTuple

HOUR = 3_600_000_000
SECOND = 1_000_000
_EXACT = Context(prec=100)


class Cost(NamedTuple):
    """What a series costs: `identity` is what is paid for, `size` what multiplies a rate."""

    identity: str
    kind: Literal["delta", "total", "month to date", "rate", "size", "log"]
    currency: str
    factor: Decimal = Decimal(1)
    may_fall: bool = False
    staleness: int = 0
    size: str = ""


class Point(NamedTuple):
    """`start` is 0 if unknown, `count` that of a histogram, and `name` that of a log record."""

    time: int
    start: int
    value: Decimal
    count: int | None = None
    name: str = ""


def expected(sent: Iterable[tuple[Cost, Point]]) -> dict[tuple[str, str], Decimal]:
    """The sums by currency and billing month of everything that was sent."""
    series: dict[Cost, dict[tuple[int, int, str], Point]] = defaultdict(dict)
    for cost, point in sent:
        start = point.start if cost.kind in {"delta", "total"} and point.start <= point.time else 0
        key = (point.time, start, point.name)
        one = point._replace(start=start)
        series[cost][key] = max(series[cost].get(key, one), one, key=lambda known: known.value)
    ordered = {cost: sorted(points.values()) for cost, points in series.items()}
    sizes = {cost.identity: points for cost, points in ordered.items() if cost.kind == "size"}
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with localcontext(_EXACT):
        for cost, points in ordered.items():
            for time, amount in _amounts(cost, points, sizes):
                moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time)
                sums[cost.currency, f"{moment:%Y-%m}"] += amount
    return {key: amount for key, amount in sums.items() if key[0]}


def _amounts(
    cost: Cost, points: Sequence[Point], sizes: dict[str, list[Point]]
) -> Iterator[tuple[int, Decimal]]:
    """The last instant that each amount pays for, and the amount."""
    if cost.kind == "log":
        yield from ((point.time, point.value) for point in points)
    elif cost.kind == "delta":
        yield from ((_last_instant(point), _price(cost, point)) for point in points)
    elif cost.kind == "rate":
        for before, point in pairwise(points):
            rate = point.value * cost.factor
            rate *= _size(sizes.get(cost.size, []), point.time) if cost.size else 1
            begin = max(before.time, point.time - cost.staleness)
            yield _last_instant(point), _charge(rate, point.time) - _charge(rate, begin)
    elif cost.kind == "month to date":
        yield from _increases(cost, points, is_start_known=False)
    elif cost.kind == "total":
        unknown, streams = _streams(cost, points)
        yield from _increases(cost, unknown, is_start_known=False)
        for stream in streams:
            yield from _increases(cost, stream, is_start_known=True)


def _streams(cost: Cost, points: Sequence[Point]) -> tuple[list[Point], list[list[Point]]]:
    """The points without a known start, and the streams of the others, in order of time."""
    starts = {point.start for point in points if point.start < point.time}
    alone = [point for point in points if point.start == point.time and point.start not in starts]
    if len(alone) == 1:  # the first export of a program, and its only one
        alone = []
    unknown = sorted([point for point in points if not point.start] + alone)
    known = sorted(set(points) - set(unknown), key=lambda point: point.start)
    near: list[list[Point]] = []
    for point in known:
        if near and point.start - near[-1][-1].start < SECOND:
            near[-1].append(point)
        else:
            near.append([point])
    streams = []
    for group in near:
        pairs = pairwise(sorted(group))
        if cost.may_fall or not any(_falls(before, point) for before, point in pairs):
            streams.append(sorted(group))
        else:
            by_start = groupby(group, key=lambda point: point.start)
            streams += [sorted(stream) for _, stream in by_start]
    return unknown, streams


def _increases(
    cost: Cost, stream: Sequence[Point], *, is_start_known: bool
) -> Iterator[tuple[int, Decimal]]:
    if stream and is_start_known:
        yield _last_instant(stream[0]), _price(cost, stream[0])
    for before, point in pairwise(stream):
        begins_at_0 = not cost.may_fall and _restarts(
            cost, before, point, is_start_known=is_start_known
        )
        since = Decimal(0) if begins_at_0 else _price(cost, before)
        yield _last_instant(point), _price(cost, point) - since


def _restarts(cost: Cost, before: Point, point: Point, *, is_start_known: bool) -> bool:
    if point.count is not None and before.count is not None:
        is_equal = point.count == before.count
        return point.count < before.count or (is_equal and _falls(before, point))
    if cost.kind == "total" and not is_start_known:
        return _falls(before, point)
    return before.value > 0 and point.value < before.value / 2


def _falls(before: Point, point: Point) -> bool:
    return point.value < before.value - abs(before.value) / 1_000_000


def _size(sizes: Sequence[Point], time: int) -> Decimal:
    """The newest size, unless the next one is overdue."""
    known = [size for size in sizes if size.time <= time][-2:]
    if len(known) == 2 and time - known[1].time >= known[1].time - known[0].time:
        return known[1].value if time == known[1].time else Decimal(0)
    return known[-1].value if known else Decimal(0)


def _price(cost: Cost, point: Point) -> Decimal:
    return (point.value * cost.factor).quantize(Decimal("1e-18"))


def _charge(rate: Decimal, time: int) -> Decimal:
    return (rate * time / HOUR).quantize(Decimal("1e-9"))


def _last_instant(point: Point) -> int:
    """A period is over (from, to]: what ends with an hour belongs to it."""
    return point.time - 1 if point.time % HOUR == 0 else point.time
