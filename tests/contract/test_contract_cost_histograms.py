"""Costs of histograms: late, repeated, in any order, over restarts of sender and receiver."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import count, pairwise
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from kit.backends.kinds import StoreFactory
from kit.otlp.attributes import key_values
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality as Wire

from exporter.backends.base import Backend
from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.gen_ai import TokenPrice, TokenPrices
from exporter.costs.rules import CostRule, FieldSource
from exporter.model import Batch
from exporter.query import Reader
from exporter.series_cache import SeriesCache
from exporter.wire import decode

SECOND = 1_000_000_000
START = 1_750_000_000 * SECOND
TOKENS = "gen_ai.client.token.usage"
JOBS = "job.cost"
RULE = CostRule(JOBS, "cumulative", currency=(FieldSource(constant="EUR"),))
PRICES = [TokenPrice("house-*", Decimal("2.50"), Decimal(10), currency="EUR")]
# The price of one unit of the sum.
UNIT_PRICE = {"input": Decimal("2.50") / 10**6, "output": Decimal(10) / 10**6, "": Decimal(1)}
SENDERS = count()


@dataclass(frozen=True)
class Point:
    """Times in seconds after START; a start of None is unknown."""

    kind: str
    at: int
    start: int | None
    sum: int


@dataclass(frozen=True)
class History:
    """Points of one sender as they arrive: requests, and which requests are written together.

    The receiver restarts before each request of `fresh`.
    """

    mode: Literal["delta", "since a start", "without a start"]
    metric: str
    exponential: bool
    batches: list[list[list[Point]]]
    fresh: frozenset[int]

    @property
    def arrived(self) -> list[Point]:
        return [one for batch in self.batches for request in batch for one in request]


def runs(kind: str) -> st.SearchStrategy[list[list[Point]]]:
    """Totals of a program that starts several times, each time at 0.

    The next run may start at the time of the last point.
    """

    @st.composite
    def drawn(draw: st.DrawFn) -> list[list[Point]]:
        found, now = [], 0
        for _ in range(draw(st.integers(1, 3))):
            start = now = now + draw(st.integers(0, 2))
            run, total = [], 0
            for step, more in draw(
                st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=4)
            ):
                now, total = now + step, total + more
                run.append(Point(kind, now, start, total))
            found.append(run)
        return found

    return drawn()


@st.composite
def histories(draw: st.DrawFn) -> History:
    mode = draw(st.sampled_from(["delta", "since a start", "without a start"]))
    metric = TOKENS if mode == "delta" else draw(st.sampled_from([TOKENS, JOBS]))
    points = [
        Point(one.kind, one.at, None if mode == "without a start" else one.start, one.sum)
        for kind in (("input", "output") if metric == TOKENS else ("",))
        for run in draw(runs(kind))
        for one in run
    ]
    sent = draw(st.lists(st.sampled_from(points), min_size=1, unique=True))
    again = draw(st.lists(st.sampled_from(sent), max_size=4))
    arriving = draw(st.permutations([*sent, *again]))
    requests = _cut(arriving, draw(st.sets(st.integers(1, len(arriving)), max_size=6)))
    return History(
        mode,
        metric,
        draw(st.booleans()),
        _cut(requests, draw(st.sets(st.integers(1, len(requests)), max_size=4))),
        frozenset(draw(st.sets(st.integers(0, len(requests)), max_size=2))),
    )


def _cut(items: Sequence[Any], places: set[int]) -> list[Any]:
    bounds = sorted({0, len(items)} | {place for place in places if place < len(items)})
    return [list(items[a:b]) for a, b in pairwise(bounds)]


def expected(history: History) -> Decimal:
    """The expected total, added up from the requests."""
    points = set(history.arrived)
    if history.mode == "delta":
        return sum((one.sum * UNIT_PRICE[one.kind] for one in points), Decimal(0))
    cost = Decimal(0)
    for kind in {one.kind for one in points}:
        own = sorted((one for one in points if one.kind == kind), key=lambda one: one.at)
        if history.mode == "since a start":
            last_of_run = {one.start: one.sum for one in own}
            counted = sum(last_of_run.values())
        else:
            counted = sum(
                one.sum - (before.sum if before.sum <= one.sum else 0)
                for before, one in pairwise(own)
            )
        cost += counted * UNIT_PRICE[kind]
    return cost


class Receiver:
    """The path from the bytes of a request to its rows."""

    def __init__(self) -> None:
        self.series = SeriesCache()
        self.cost_deriver = CostDeriver(
            [RULE], prices=TokenPrices(PRICES), is_cached=self.series.has_series
        )

    def take(self, data: bytes, repeated: int) -> Batch:
        decoded = decode(data, self.series)
        assert decoded.rejections.total == repeated  # of one series and time in the request
        batch, refused = self.cost_deriver.derive(decoded.batch)
        assert not refused
        return batch


def request(history: History, points: list[Point], node: str) -> bytes:
    message = ExportMetricsServiceRequest()
    group = message.resource_metrics.add()
    group.resource.attributes.extend(key_values({"host.name": node}))
    metric = group.scope_metrics.add().metrics.add(name=history.metric)
    data = metric.exponential_histogram if history.exponential else metric.histogram
    data.aggregation_temporality = (
        Wire.AGGREGATION_TEMPORALITY_DELTA
        if history.mode == "delta"
        else Wire.AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    for one in points:
        point = data.data_points.add(
            time_unix_nano=START + one.at * SECOND,
            start_time_unix_nano=0 if one.start is None else START + one.start * SECOND,
            sum=one.sum,
            # Grows and falls with the sum: a falling count says that the sender restarted.
            count=one.sum + 1,
        )
        if history.exponential:
            point.zero_count = one.sum + 1
        if one.kind:
            attributes = {"gen_ai.request.model": "house-1", "gen_ai.token.type": one.kind}
            point.attributes.extend(key_values(attributes))
    return message.SerializeToString()


@pytest.fixture(scope="module")
def shared(new_store: StoreFactory) -> Iterator[Backend]:
    """One store for all histories; each has its own sender."""
    with new_store() as backend:
        yield backend


_AT_ONCE = History(
    "since a start", JOBS, False, [[[Point("", 2, 1, 5)], [Point("", 1, 0, 3)]]], frozenset({1})
)


@example(history=_AT_ONCE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=histories())
def test_histogram_costs_equal_the_measured_totals(shared: Backend, history: History) -> None:
    node = f"n-{next(SENDERS)}"
    receiver, number = Receiver(), 0
    for batch in history.batches:
        parts = []
        for points in batch:
            if number in history.fresh:
                receiver = Receiver()
            data = request(history, points, node)
            parts.append(receiver.take(data, len(points) - len(set(points))))
            number += 1
        shared.write(Batch.merge(parts))
    rows = Reader(shared).cost_totals(node_id=node)
    found = sum((row["amount"] for row in rows), Decimal(0))
    assert {row["currency"] for row in rows} <= {"EUR"}
    assert found == expected(history)
