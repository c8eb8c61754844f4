"""Cost entries, and how the points of a series become cost entries."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, NamedTuple, Self

from exporter.time_units import NANOSECONDS_PER_MICROSECOND

CostKind = Literal["amount", "cumulative", "hourly_rate", "quantity"]
CostFalls = Literal["auto", "restart", "correct"]
CostSource = Literal["metric", "log", "gen_ai", "api", "focus"]


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The point of a series that a cost entry was derived from; its time is the entry's.

    Attributes:
        series_id: of the series.
        start_time_unix_nano: of the point, 0 if unknown.
        value: of the point.
    """

    series_id: int
    start_time_unix_nano: int
    value: float


@dataclass(frozen=True, slots=True)
class CostEntry:
    """The cost of something at one time. A store has one entry for an id and time.

    Attributes:
        entry_id: the same for the same cost, however often it is sent.
        time_unix_nano: when the cost arose, always > 0.
        resource_id: what caused the cost, "" if unknown.
        category: such as "compute".
        amount: in `currency`, finite; below 0 for a credit. Stores keep nine decimal places.
        currency: ISO 4217 code, such as "USD"; amounts of two currencies are never added.
        region: None if unknown.
        cluster_id: as of a series, "default" if unknown.
        node_id: as of a series, "default" if unknown.
        service_name: None if unknown.
        tags: JSON object, canonical (keys sorted).
        description: "" for no description.
        billing_period: month such as "2026-11"; "" for the month of the time, in UTC.
        source: where the entry came from.
        source_name: name of the metric or log event that it came from, "" if there is none.
        derived_from: the point of a series that the amount was computed from. The entry replaces
            a stored one with its id and time. None for entries that were sent complete.
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
    derived_from: SeriesPoint | None = None


class CostPoint(NamedTuple):
    """The stored part of a point; times are whole microseconds, a start time of 0 is unknown."""

    time_unix_nano: int
    start_time_unix_nano: int
    value: float

    @classmethod
    def from_micros(cls, timestamp: int, start_timestamp: int | None, value: float) -> Self:
        """From a stored row: times in microseconds, None for an unknown start."""
        start_time_unix_nano = (start_timestamp or 0) * NANOSECONDS_PER_MICROSECOND
        return cls(timestamp * NANOSECONDS_PER_MICROSECOND, start_time_unix_nano, value)


@dataclass(frozen=True, slots=True)
class CostCursor:
    """The first and last point of a series, kept after retention has deleted its entries.

    Attributes:
        series_id: of the series.
        first_time_unix_nano: time of the oldest point that was ever stored.
        last: the newest point that was ever stored.
    """

    series_id: int
    first_time_unix_nano: int
    last: CostPoint

    @classmethod
    def from_micros(
        cls,
        series_id: int,
        first_timestamp: int,
        last_timestamp: int,
        last_start_timestamp: int | None,
        last_value: float,
    ) -> Self:
        """From a stored row: times in microseconds, None for an unknown start."""
        last = CostPoint.from_micros(last_timestamp, last_start_timestamp, last_value)
        return cls(series_id, first_timestamp * NANOSECONDS_PER_MICROSECOND, last)

    def merge(self, other: CostCursor) -> CostCursor:
        """Merges two cursors.

        If both last points have the same time, the point of this cursor is kept.
        """
        first = min(self.first_time_unix_nano, other.first_time_unix_nano)
        last = max(self.last, other.last, key=lambda point: point.time_unix_nano)
        return CostCursor(self.series_id, first, last)


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
        falls: what a fall of a total is: a restart, a correction, or, for "auto", what
            `exporter.costs.entry_calculation` takes it for.
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
    """One point of a series with costs; `exporter.costs.entry_calculation` computes its amount.

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
