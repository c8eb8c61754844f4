"""What something cost, and how points of series become that."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal, NamedTuple, Self

__all__ = [
    "CostBasis",
    "CostCursor",
    "CostEntry",
    "CostKind",
    "CostPoint",
    "CostSample",
    "CostSource",
    "SeriesPoint",
]

CostKind = Literal["amount", "cumulative", "hourly_rate"]
CostSource = Literal["metric", "log", "gen_ai", "api", "focus"]

_NANOSECONDS_PER_MICROSECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The point of a series that a cost entry was made of; its time is the entry's.

    Attributes:
        series_id: of the series.
        start_time_unix_nano: of the point, 0 where unknown.
        value: of the point.
    """

    series_id: int
    start_time_unix_nano: int
    value: float


@dataclass(frozen=True, slots=True)
class CostEntry:
    """What something cost at one time: complete, and stored once for its id and time.

    Attributes:
        entry_id: the same for the same cost, however often it is sent.
        time_unix_nano: when the cost arose, always > 0.
        resource_id: what cost it, "" where unknown.
        category: such as "compute".
        amount: in `currency`, finite; below 0 for a credit. Stores keep nine decimal places.
        currency: ISO 4217 code, such as "USD"; amounts of two currencies are never added.
        region: None where unknown.
        cluster_id: as of series, "default" where unknown.
        node_id: likewise.
        service_name: None where unknown.
        tags: JSON object, canonical (keys sorted).
        description: "" where there is none.
        billing_period: month such as "2026-11"; "" stands for the month of the time, in UTC.
        source: where the entry came from.
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
    derived_from: SeriesPoint | None = None


class CostPoint(NamedTuple):
    """What is kept of a point; times are whole microseconds, a start time of 0 is unknown."""

    time_unix_nano: int
    start_time_unix_nano: int
    value: float

    @classmethod
    def of_micros(cls, timestamp: int, start_timestamp: int | None, value: float) -> Self:
        """From what a store keeps: microseconds, None where the start is unknown."""
        start = (start_timestamp or 0) * _NANOSECONDS_PER_MICROSECOND
        return cls(timestamp * _NANOSECONDS_PER_MICROSECOND, start, value)


@dataclass(frozen=True, slots=True)
class CostCursor:
    """How far a series has come, kept when its rows are long deleted.

    Attributes:
        series_id: of the series.
        first_time_unix_nano: time of the oldest point that there ever was.
        last: the newest point that there ever was.
    """

    series_id: int
    first_time_unix_nano: int
    last: CostPoint

    @classmethod
    def of_micros(cls, series_id: int, first_timestamp: int, last: CostPoint) -> Self:
        """From what a store keeps: microseconds."""
        return cls(series_id, first_timestamp * _NANOSECONDS_PER_MICROSECOND, last)

    def merge(self, other: CostCursor) -> CostCursor:
        """Of the points of both; of two last ones of one time, this cursor's."""
        first = min(self.first_time_unix_nano, other.first_time_unix_nano)
        last = max(self.last, other.last, key=lambda point: point.time_unix_nano)
        return CostCursor(self.series_id, first, last)


@dataclass(frozen=True, slots=True)
class CostBasis:
    """How the points of a series become cost entries; one object for all samples of a series.

    Attributes:
        kind: what a value is: the amount itself, a total that grows, or an amount an hour.
        factor: what each value is multiplied by.
        staleness_seconds: the longest time that one point of an hourly rate pays for.
        is_monotonic: whether a total that falls has started again; otherwise its fall is a credit.

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
    is_monotonic: bool = True


@dataclass(frozen=True, slots=True)
class CostSample:
    """One point of a series that carries cost; `exporter.costs.amounts` says what it comes to.

    Of a histogram, `value` is its sum. It is finite; a start time of 0 means unknown.
    """

    series_id: int
    time_unix_nano: int
    start_time_unix_nano: int
    value: float
    basis: CostBasis
