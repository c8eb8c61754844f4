"""Cost entries, and how the points of a series become cost entries."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple

CostKind = Literal["amount", "cumulative", "hourly_rate", "quantity"]
CostFalls = Literal["auto", "restart", "correct"]
CostSource = Literal["metric", "log", "gen_ai", "api", "focus"]


class CostPoint(NamedTuple):
    """The stored part of a point; times are whole microseconds, a start time of 0 is unknown.

    `point_count` is the count of a histogram or summary, whose sum is the value.
    """

    time_unix_nano: int
    start_time_unix_nano: int
    value: float
    point_count: int | None = None


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The point of a series that a cost entry was derived from, and how.

    Attributes:
        series_id: of the series, or of the identity that several series share.
        stream_start: names the stream of the point, see `CostStream`.
        point: the point; its time is the end of the period of the entry.
        basis: by what the amount is computed; None for entries of a store of version 0.1.0.
        replaces: whether the entry replaces a stored one with its id and time.
    """

    series_id: int
    stream_start: int
    point: CostPoint
    basis: CostBasis | None
    replaces: bool = True


@dataclass(frozen=True, slots=True)
class CostEntry:
    """The cost of something at one time. A store has one entry for an id and time.

    Attributes:
        entry_id: the same for the same cost, however often it is sent.
        time_unix_nano: when the cost arose, always > 0.
        resource_id: what caused the cost, "" if unknown.
        category: such as "compute".
        amount: in `currency`, finite; below 0 for a credit. Stores keep 18 decimal places.
        currency: ISO 4217 code such as "USD", or "USD notional" for what nobody is billed for;
            amounts of two currencies are never added.
        region: None if unknown.
        cluster_id: as of a series, "default" if unknown.
        node_id: as of a series, "default" if unknown.
        service_name: None if unknown.
        tags: JSON object, canonical (keys sorted).
        description: "" for no description.
        billing_period: month such as "2026-11"; "" for the month of the time, in UTC.
        source: where the entry came from.
        source_name: name of the metric or log event that it came from, "" if there is none.
        period_start_unix_nano: the cost arose after this time; 0 if unknown.
        period_end_unix_nano: the cost arose up to this time; 0 for `time_unix_nano`.
        derived_from: the point of a series that the amount was computed from; None for entries that
            were sent complete, which never replace a stored one.
    """

    entry_id: str
    time_unix_nano: int
    resource_id: str
    category: str
    amount: Decimal
    currency: str
    region: str | None = None
    cluster_id: str = "default"
    node_id: str = "default"
    service_name: str | None = None
    tags: str = "{}"
    description: str = ""
    billing_period: str = ""
    source: CostSource = "api"
    source_name: str = ""
    period_start_unix_nano: int = 0
    period_end_unix_nano: int = 0
    derived_from: SeriesPoint | None = None


class CostStream(NamedTuple):
    """What is known of one stream of a series, also after its entries were deleted.

    A stream is one running total. `exporter.costs.streams` says which points form one. The stream 0
    holds the points without a known start and what is known of the series as a whole.

    Attributes:
        series_id: of the series, or of the identity that several series share.
        stream_start: the start time that names the stream; 0 for points without a known start.
        earliest_start: of its points; 0 for the stream 0.
        latest_start: of its points; 0 for the stream 0.
        has_fall: whether its total ever fell by more than rounding.
        is_split: whether near starts are streams of their own, because their totals fall when they
            are read together.
        last: its newest point, None if it has none yet.
        closed: its closing point: the newest point whose entry was deleted. A point that arrives
            with a time up to this costs 0.
        zero_length_points: of the stream 0 alone: how many points of the series have their own time
            as start, and no later point has this start.
        lone_start: of the stream 0 alone: the start of the only such point, 0 unless there is one.
        quantity_id: of the stream 0 alone: the quantity that its hourly rate is multiplied by.
    """

    series_id: int
    stream_start: int
    earliest_start: int = 0
    latest_start: int = 0
    has_fall: bool = False
    is_split: bool = False
    last: CostPoint | None = None
    closed: CostPoint | None = None
    zero_length_points: int = 0
    lone_start: int = 0
    quantity_id: int | None = None


class CostCounts(NamedTuple):
    """Numbers of unusual points among the cost samples of a transaction.

    Attributes:
        conflicting: points that came with another value than a point with their series, start and
            time. The larger value counts.
        at_start: new points of totals whose start is their own time. If they are the last points
            of their programs, their costs may be missing.
    """

    conflicting: int = 0
    at_start: int = 0


NO_COST_COUNTS: Final = CostCounts()


class StoredCost(NamedTuple):
    """A stored entry that was derived from a point.

    Attributes:
        timestamp_unix_nano: of the entry; with `entry_id` its key.
        entry_id: of the entry.
        source: the point, its stream and its basis.
    """

    timestamp_unix_nano: int
    entry_id: str
    source: SeriesPoint


class CostUpdate(NamedTuple):
    """The new amount of a stored entry, whose neighbour or stream has changed.

    Attributes:
        stored: the entry.
        stream_start: of its stream now.
        amount: in its currency.
        period_start_unix_nano: of the period that it pays for; 0 if unknown.
    """

    stored: StoredCost
    stream_start: int
    amount: Decimal
    period_start_unix_nano: int


@dataclass(frozen=True, slots=True)
class CostBasis:
    """How the points of a series become cost entries; one object for all samples of a series.

    Attributes:
        kind: what a value is: an amount, a growing total, an amount an hour, or a quantity that a
            rate of another series is multiplied by and that costs nothing itself.
        factor: what each value is multiplied by.
        staleness_seconds: the longest time that one point of an hourly rate pays for.
        is_monotonic: whether a total that falls has restarted; otherwise its fall is a credit.
        has_known_starts: whether the start times of the points separate the totals of several
            processes; False for gauges.
        falls: what a fall of a total is: a restart, a correction, or, for "auto", the one that
            `exporter.costs.streams.has_restarted` takes it for.
        quantity_id: the series id of the quantity that an hourly rate is multiplied by; None for 1.

    The other attributes are those of the entries, see `CostEntry`.
    """

    kind: CostKind
    factor: Decimal
    staleness_seconds: float
    resource_id: str
    category: str
    currency: str
    region: str | None = None
    cluster_id: str = "default"
    node_id: str = "default"
    service_name: str | None = None
    tags: str = "{}"
    description: str = ""
    source: CostSource = "metric"
    source_name: str = ""
    is_monotonic: bool = True
    has_known_starts: bool = True
    falls: CostFalls = "auto"
    quantity_id: int | None = None


@dataclass(frozen=True, slots=True)
class CostSample:
    """A point that carries cost, before its amount is computed from the point before it.

    `value` is finite; for a histogram or summary it is the sum, and `count` its count. A start time
    of 0 is unknown. `series_id` is that of the series, or of the identity that several series
    share.
    """

    series_id: int
    time_unix_nano: int
    start_time_unix_nano: int
    value: float
    basis: CostBasis
    count: int | None = None
