"""A month of senders of every kind that costs money, as points and as requests. Seeded.

Each scenario says what was spent, as far as its points tell without doubt.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality as Wire
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from kit.money_model import HOUR, SECOND, Cost, Point
from kit.otlp.attributes import key_values

MILLISECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
DAY: Final = 24 * HOUR
BEGIN: Final = int(datetime(2025, 10, 20, tzinfo=UTC).timestamp()) * SECOND
NOVEMBER: Final = int(datetime(2025, 11, 1, tzinfo=UTC).timestamp()) * SECOND
END: Final = int(datetime(2025, 11, 19, tzinfo=UTC).timestamp()) * SECOND

RULES: Final = [
    {"metric": "cloud.month_to_date", "kind": "cumulative", "currency": "GBP"},
    {
        "metric": "gpu.price",
        "kind": "hourly_rate",
        "currency": "CHF",
        "staleness": "6h",
        "identity": ["gpu.uuid"],
    },
]
"""The rules of one's own that the senders need."""

CUMULATIVE: Final = Wire.AGGREGATION_TEMPORALITY_CUMULATIVE
DELTA: Final = Wire.AGGREGATION_TEMPORALITY_DELTA


@dataclass(frozen=True)
class Series:
    """A series that is sent, and what it costs.

    Attributes:
        cost: what its points cost.
        metric: its name; of a log record, the name of the event.
        type: the field of `Metric`, or "log".
        unit: of the metric.
        temporality: of sums and histograms.
        resource: attributes of the sender.
        attributes: of the points.
    """

    cost: Cost
    metric: str
    type: str = "sum"
    unit: str = ""
    temporality: int = CUMULATIVE
    resource: tuple[tuple[str, str], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()


class Sent(NamedTuple):
    """A point that a sender sends."""

    series: Series
    point: Point


@dataclass(frozen=True)
class Scenario:
    """What senders of one kind send, in order of time.

    Attributes:
        sent: the points.
        spent: what they cost by currency.
    """

    sent: list[Sent]
    spent: Mapping[str, Decimal]


def scenarios(seed: int) -> dict[str, Scenario]:
    """One scenario of each kind, by name."""
    return {
        name: make(random.Random(f"{name} {seed}"), f"{name}-{seed}")
        for name, make in _SCENARIOS.items()
    }


def requests(sent: Sequence[Sent]) -> Iterator[bytes | ExportLogsServiceRequest]:
    """Points as requests, at most one of metrics and one of logs."""
    metrics: dict[Series, list[Point]] = {}
    logs = ExportLogsServiceRequest()
    for series, point in sent:
        if series.type == "log":
            _add_record(logs, series, point)
        else:
            metrics.setdefault(series, []).append(point)
    if metrics:
        message = ExportMetricsServiceRequest()
        for series, points in metrics.items():
            group = message.resource_metrics.add()
            group.resource.attributes.extend(key_values(dict(series.resource)))
            group.scope_metrics.add().metrics.append(_metric(series, points))
        yield message.SerializeToString()
    if logs.resource_logs:
        yield logs


def _metric(series: Series, points: Sequence[Point]) -> Metric:
    metric = Metric(name=series.metric, unit=series.unit)
    data = getattr(metric, series.type)
    if series.type not in {"gauge", "summary"}:
        data.aggregation_temporality = series.temporality
    if series.type == "sum":
        data.is_monotonic = not series.cost.may_fall
    for point in points:
        one = data.data_points.add(
            time_unix_nano=point.time * 1_000, start_time_unix_nano=point.start * 1_000
        )
        one.attributes.extend(key_values(dict(series.attributes)))
        if point.count is None:
            one.as_double = float(point.value)
            continue
        one.count, one.sum = point.count, float(point.value)
        if series.type == "exponential_histogram":
            one.zero_count = point.count
    return metric


def _add_record(logs: ExportLogsServiceRequest, series: Series, point: Point) -> None:
    group = logs.resource_logs.add()
    group.resource.attributes.extend(key_values(dict(series.resource)))
    record = group.scope_logs.add().log_records.add(
        time_unix_nano=point.time * 1_000, event_name="openfinops.cost"
    )
    attributes: dict[str, Any] = {"amount": str(point.value), "currency": series.cost.currency}
    if series.attributes:
        attributes["entry_id"] = point.name
    else:
        record.body.string_value = point.name
    record.attributes.extend(key_values(attributes))


@dataclass
class _Counter:
    """A total that grows, point by point."""

    dice: random.Random
    start: int
    value: Decimal = Decimal(0)
    points: list[Point] = field(default_factory=list)

    def export(self, time: int) -> None:
        self.value += _cents(self.dice, 1, 900)
        self.points.append(Point(time, self.start, self.value))


def _cents(dice: random.Random, low: int, high: int) -> Decimal:
    return Decimal(dice.randint(low, high)).scaleb(-2)


def _moments(dice: random.Random, begin: int, end: int, number: int) -> list[int]:
    """Times with distinct milliseconds; some are whole hours, and one is the end of the month."""
    between = range(begin // MILLISECOND + 1, end // MILLISECOND)
    times = {one * MILLISECOND for one in dice.sample(between, number)}
    hours = range(begin // HOUR + 1, end // HOUR)
    times |= {one * HOUR for one in dice.sample(hours, min(2, len(hours)))}
    if begin < NOVEMBER < end:
        times.add(NOVEMBER)
    return sorted(times)


def _run(dice: random.Random, begin: int, end: int, number: int) -> _Counter:
    """A process that starts at a time and exports until another time."""
    counter = _Counter(dice, begin)
    for time in _moments(dice, begin + MINUTE, end, number):
        counter.export(time)
    return counter


def _one(series: Series, points: Sequence[Point], spent: Decimal) -> Scenario:
    ordered = sorted(points)
    return Scenario([Sent(series, one) for one in ordered], {series.cost.currency: spent})


def _total(name: str, currency: str = "USD", **cost: Any) -> Series:
    return Series(Cost(name, "total", currency, **cost), f"spend.{name}", unit=currency)


def _processes(dice: random.Random, name: str) -> Scenario:
    runs = [_run(dice, BEGIN + at * 7 * MINUTE, END, 12) for at in range(3)]
    return _one(_total(name), *_joined(runs))


def _rolling_update(dice: random.Random, name: str) -> Scenario:
    days = (END - BEGIN) // DAY
    runs = [
        _run(dice, BEGIN + day * DAY, BEGIN + (day + 8) * DAY, 5) for day in range(0, days - 8, 6)
    ]
    return _one(_total(name, "EUR"), *_joined(runs))


def _joined(runs: Sequence[_Counter]) -> tuple[list[Point], Decimal]:
    points = [point for run in runs for point in run.points]
    return points, sum((run.value for run in runs), Decimal(0))


def _restarts(dice: random.Random, start: int) -> tuple[list[Point], Decimal]:
    """A program that restarts at 0 and does not send a new start."""
    points: list[Point] = []
    spent = Decimal(0)
    for week in range(4):
        begin = BEGIN + week * 7 * DAY
        run = _Counter(dice, start, Decimal(0 if week else 5))
        times = _moments(dice, begin, begin + 7 * DAY, 6)
        for time in times:
            run.export(time)
        low = run.points[0].value
        if points and low >= points[-1].value / 2:  # the end of a run must be high enough
            points[-1] = points[-1]._replace(value=points[-1].value + 3 * low)
            spent += 3 * low
        points += run.points
        spent += run.value
    return points, spent


def _same_start(dice: random.Random, name: str) -> Scenario:
    return _one(_total(name), *_restarts(dice, BEGIN))


def _no_start(dice: random.Random, name: str) -> Scenario:
    points, spent = _restarts(dice, 0)
    return _one(_total(name, "EUR"), points, spent - points[0].value)


def _start_is_the_time(dice: random.Random, name: str) -> Scenario:
    points, spent = _restarts(dice, 0)
    points = [point._replace(start=point.time) for point in points]
    return _one(_total(name), points, spent - points[0].value)


def _last_digit(dice: random.Random, name: str) -> Scenario:
    """Sums of doubles in another order: the total falls by its last digit and rises again."""
    run = _run(dice, BEGIN, END, 8)
    points = []
    for one in run.points:
        flicker = Decimal(repr(math.nextafter(float(one.value), math.inf)))
        points += [
            one._replace(value=flicker),
            one._replace(time=one.time + 1),
            one._replace(time=one.time + 2, value=flicker),
            one._replace(time=one.time + 3),
        ]
    return _one(_total(name), points, run.value)


def _javascript(dice: random.Random, name: str) -> Scenario:
    """Programs whose first export falls into the millisecond of their start."""
    runs = []
    for week in range(4):
        begin = BEGIN + week * 7 * DAY + 11 * MILLISECOND
        run = _Counter(dice, begin)
        run.export(begin)
        for time in _moments(dice, begin, begin + 6 * DAY, 4):
            run.export(time)
        runs.append(run)
    return _one(_total(name), *_joined(runs))


def _short_program(_dice: random.Random, name: str) -> Scenario:
    return _one(_total(name), [Point(BEGIN + 13, BEGIN + 13, Decimal("5.25"))], Decimal("5.25"))


def _jittering_start(dice: random.Random, name: str) -> Scenario:
    """Each start is now minus uptime, to some milliseconds; the program restarts once."""
    runs = [_run(dice, begin, begin + 9 * DAY, 15) for begin in (BEGIN, NOVEMBER)]
    for run in runs:
        run.points = [
            one._replace(start=run.start + dice.randint(-3, 3) * MILLISECOND) for one in run.points
        ]
    return _one(_total(name), *_joined(runs))


def _forked_workers(dice: random.Random, name: str) -> Scenario:
    """Four workers that started within some milliseconds; the first has spent most."""
    runs = []
    for worker in range(4):
        run = _Counter(dice, BEGIN + worker * MILLISECOND, Decimal(0 if worker else 1_000))
        for time in _moments(dice, BEGIN + HOUR, END, 7):
            run.export(time + worker)
        runs.append(run)
    return _one(_total(name, "EUR"), *_joined(runs))


def _deltas(dice: random.Random, name: str) -> Scenario:
    points = [
        Point(time, time - 5 * MINUTE - process, _cents(dice, 1, 500))
        for process in range(2)
        for time in _moments(dice, BEGIN + process, END, 12)
    ]
    series = Series(Cost(name, "delta", "USD"), "openfinops.cost", unit="USD", temporality=DELTA)
    series = _named(series, name)
    return _one(series, points, sum((one.value for one in points), Decimal(0)))


def _named(series: Series, name: str) -> Series:
    """A series with a sender of its own."""
    return replace(series, resource=(("host.name", name),))


def _up_and_down(dice: random.Random, name: str) -> Scenario:
    cost = Cost(name, "total", "USD", may_fall=True)
    delta = cost._replace(identity=f"{name}.delta", kind="delta")
    totals, deltas, value = [], [], Decimal(0)
    before = BEGIN
    for time in _moments(dice, BEGIN, END, 15):
        change = _cents(dice, -400, 500)
        value += change
        totals.append(Sent(Series(cost, f"spend.{name}", unit="USD"), Point(time, BEGIN, value)))
        deltas.append(
            Sent(
                Series(delta, f"spend.{name}.delta", unit="USD", temporality=DELTA),
                Point(time, before, change),
            )
        )
        before = time
    return Scenario(totals + deltas, {"USD": 2 * value})


def _histograms(dice: random.Random, name: str) -> Scenario:
    """The count shows each restart, also to a sum above half of the last one."""
    sent: list[Sent] = []
    spent = Decimal(0)
    for type_ in ("histogram", "exponential_histogram", "summary"):
        cost = Cost(f"{name}.{type_}", "total", "EUR")
        series = _named(Series(cost, "gen_ai.usage.cost", type_, "EUR"), f"{name}.{type_}")
        for week in range(3):
            run = _Counter(dice, BEGIN, Decimal(0))
            points = []
            begin = BEGIN + week * 7 * DAY
            for time in _moments(dice, begin, begin + 7 * DAY, 4):
                run.export(time)
                points.append(run.points[-1]._replace(count=len(points) + 1))
            sent += [Sent(series, one) for one in points]
            spent += run.value
    cost = Cost(f"{name}.delta", "delta", "EUR")
    series = _named(Series(cost, "gen_ai.usage.cost", "histogram", "EUR", DELTA), f"{name}.delta")
    for time in _moments(dice, BEGIN, END, 8):
        point = Point(time, time - MINUTE, _cents(dice, 1, 300), dice.randint(1, 5))
        sent.append(Sent(series, point))
        spent += point.value
    return Scenario(sent, {"EUR": spent})


def _micro_dollars(dice: random.Random, name: str) -> Scenario:
    run = _run(dice, BEGIN, END, 10)
    cost = Cost(name, "total", "USD", Decimal("1e-6"))
    points = [one._replace(value=one.value * 100) for one in run.points]
    series = _named(Series(cost, "proxy.cost_microusd"), name)
    return _one(series, points, run.value * 100 * Decimal("1e-6"))


def _month_to_date(dice: random.Random, name: str) -> Scenario:
    """A gauge that is corrected downwards, and begins again with each month."""
    points: list[Point] = []
    spent = Decimal(0)
    for begin, end, first in ((BEGIN, NOVEMBER, 500), (NOVEMBER, END, 5)):
        value = _cents(dice, 100 * first, 100 * first + 99)
        base = value if begin == BEGIN else Decimal(0)
        for time in _moments(dice, begin, end, 10):
            points.append(Point(time, 0, value))
            value += _cents(dice, -30, 900)
        spent += points[-1].value - base
    series = _named(
        Series(Cost(name, "month to date", "GBP"), "cloud.month_to_date", "gauge", "GBP"), name
    )
    return _one(series, points, spent)


def _replaced_sender(
    cost: Cost, metric: str, attributes: Mapping[str, str], times: Sequence[int], value: Decimal
) -> list[Sent]:
    """A value that two replicas report, the second of them from two pods, one after the other."""
    series = [
        Series(
            cost,
            metric,
            "gauge",
            resource=(("service.instance.id", pod), ("k8s.pod.name", pod)),
            attributes=(*sorted(attributes.items()), ("pod", pod)),
        )
        for pod in ("opencost-0", "opencost-1a", "opencost-1b")
    ]
    middle = times[len(times) // 2]
    sent = []
    for time in times:
        point = Point(time, 0, value)
        second = series[1] if time < middle else series[2]
        sent += [Sent(series[0], point), Sent(second, point._replace(time=time + 20 * SECOND))]
    return sent


def _opencost_nodes(_dice: random.Random, name: str) -> Scenario:
    """Two hours of a node on each side of the end of October."""
    cost = Cost(name, "rate", "USD", staleness=10 * MINUTE)
    times = [NOVEMBER + minutes * MINUTE for minutes in range(-120, 121, 5)]
    sent = _replaced_sender(cost, "node_total_hourly_cost", {"node": name}, times, Decimal("0.3"))
    length = Decimal(times[-1] - times[0] + 20 * SECOND)
    return Scenario(sent, {"USD": _hours(length, "0.3")})


def _hours(length: Decimal, rate: str) -> Decimal:
    """What a constant rate costs from a whole hour on."""
    return (Decimal(rate) * length / HOUR).quantize(Decimal("1e-9"))


def _volumes(_dice: random.Random, name: str) -> Scenario:
    """A volume of 10 GiB that grows to 100 GiB after an hour, and that no pod claims in the end."""
    gib = Decimal(2**30)
    cost = Cost(name, "rate", "USD", 1 / gib, staleness=10 * MINUTE, size=f"{name}.size")
    begin = NOVEMBER - HOUR
    volume = (("persistentvolume", name),)
    price = Series(cost, "pv_hourly_cost", "gauge", attributes=volume)
    size = Series(
        Cost(f"{name}.size", "size", ""),
        "pod_pvc_allocation",
        "gauge",
        attributes=(*volume, ("namespace", "shop")),
    )
    prices = [begin + minutes * MINUTE for minutes in range(0, 181, 5)]
    sizes = [begin + minutes * MINUTE for minutes in range(-4, 120, 4)]
    sent = [Sent(price, Point(time, 0, Decimal("0.06"))) for time in prices]
    sent += [Sent(size, Point(time, 0, gib * (10 if time <= NOVEMBER else 100))) for time in sizes]
    # The size at the end of an interval counts, and the last one holds for less than 4 minutes.
    return Scenario(sent, {"USD": Decimal("0.6") + Decimal("5.5")})


def _gpu(dice: random.Random, name: str) -> Scenario:
    """A rate of one's own that changes, from two senders of one GPU, with gaps."""
    cost = Cost(name, "rate", "CHF", staleness=6 * HOUR)
    sent = []
    points = [Point(time, 0, _cents(dice, 100, 400)) for time in _moments(dice, BEGIN, END, 40)]
    for point in points:
        sender = (("host.name", dice.choice("ab")),)
        series = Series(
            cost, "gpu.price", "gauge", resource=sender, attributes=(("gpu.uuid", name),)
        )
        sent.append(Sent(series, point))
    return Scenario(sent, {})


def _logs(dice: random.Random, name: str) -> Scenario:
    cost = Cost(name, "log", "USD")
    sent = []
    for number, time in enumerate(_moments(dice, BEGIN, END, 10)):
        attributes = (("entry_id", "given"),) if number % 2 else ()
        series = Series(cost, "openfinops.cost", "log", attributes=attributes)
        points = [Point(time, 0, _cents(dice, 1, 900), name=f"{name} {at}") for at in range(2)]
        sent += [Sent(_named(series, name), one) for one in points]
    return Scenario(sent, {"USD": sum((one.point.value for one in sent), Decimal(0))})


def _conflicts(dice: random.Random, name: str) -> Scenario:
    """Each point is sent with two values; the larger one counts."""
    run = _run(dice, BEGIN, END, 8)
    lower = [one._replace(value=one.value - Decimal("0.01")) for one in run.points]
    return _one(_total(name), run.points + lower, run.value)


def _edges(_dice: random.Random, name: str) -> Scenario:
    """Huge and tiny values, and starts after the time of the point."""
    values = {"huge": "999999999999999", "tiny": "1e-18"}
    sent, spent = [], Decimal(0)
    for size, value in values.items():
        series = _total(f"{name}.{size}", "JPY")
        points = [Point(BEGIN + HOUR * at, BEGIN, Decimal(value) * at / 4) for at in (1, 2, 4)]
        sent += [Sent(series, one) for one in points]
        spent += Decimal(value)
    early = [Point(BEGIN + at * HOUR, END, Decimal(10) * at) for at in (1, 2, 3)]
    sent += [Sent(_total(f"{name}.late", "JPY"), one) for one in early]
    return Scenario(sent, {"JPY": spent + 20})


_SCENARIOS: Final[Mapping[str, Callable[[random.Random, str], Scenario]]] = {
    "processes": _processes,
    "rolling-update": _rolling_update,
    "same-start": _same_start,
    "no-start": _no_start,
    "start-is-the-time": _start_is_the_time,
    "last-digit": _last_digit,
    "javascript": _javascript,
    "short-program": _short_program,
    "jittering-start": _jittering_start,
    "forked-workers": _forked_workers,
    "deltas": _deltas,
    "up-and-down": _up_and_down,
    "histograms": _histograms,
    "micro-dollars": _micro_dollars,
    "month-to-date": _month_to_date,
    "opencost-nodes": _opencost_nodes,
    "volumes": _volumes,
    "gpu": _gpu,
    "logs": _logs,
    "conflicts": _conflicts,
    "edges": _edges,
}
