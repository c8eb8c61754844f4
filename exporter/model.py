"""The values that travel through the exporter: plain, frozen, and without behaviour of their own.

Number points travel as parallel numpy columns, because there are millions of them; everything
rarer travels as one small object each. Times are nanoseconds since 1970 UTC, as on the wire; a
backend converts them to its own resolution. A start time of 0 means that it is unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from exporter.deferred import joined

__all__ = [
    "NO_POINTS",
    "Batch",
    "CostBasis",
    "CostCursor",
    "CostEntry",
    "CostKind",
    "CostPoint",
    "CostSample",
    "CostSource",
    "DeadLetter",
    "DeadLetterKind",
    "Exemplar",
    "ExponentialBuckets",
    "HistogramPoint",
    "Int64Array",
    "Mark",
    "MetricType",
    "Points",
    "Series",
    "SeriesPoint",
    "StoreSizes",
    "SummaryPoint",
    "TableSize",
    "Temporality",
    "WriteResult",
]

MetricType = Literal["gauge", "sum", "histogram", "exponential_histogram", "summary"]
Temporality = Literal["delta", "cumulative"]
CostKind = Literal["amount", "cumulative", "hourly_rate"]
CostSource = Literal["metric", "log", "gen_ai", "api", "focus"]
DeadLetterKind = Literal["point", "histogram", "summary", "exemplar", "series", "cost"]
Int64Array = npt.NDArray[np.int64]

_NANOSECONDS_PER_MICROSECOND: Final = 1_000


@dataclass(frozen=True, slots=True)
class Series:
    """What identifies a stream of points, and what describes it.

    Attributes:
        series_id: signed 64-bit hash of the identity, the same on every receiver.
        metric_name: the instrument's name.
        metric_type: one of the five OTLP types.
        unit: UCUM unit, "" where the sender gave none.
        description: not part of the identity; a text not seen before takes the place of the last.
        temporality: None for gauges and summaries.
        is_monotonic: None for everything but sums.
        cluster_id: see `exporter.intern` for where it is looked for.
        node_id: likewise.
        service_name: resource attribute `service.name`, None where the sender gave none.
        resource: resource attributes as canonical JSON (keys sorted).
        resource_schema_url: "" where the sender gave none; not part of the identity.
        scope: JSON object with the keys name, version and attributes.
        scope_schema_url: "" where the sender gave none; not part of the identity.
        attributes: point attributes as canonical JSON (keys sorted).
    """

    series_id: int
    metric_name: str
    metric_type: MetricType
    unit: str
    description: str
    temporality: Temporality | None
    is_monotonic: bool | None
    cluster_id: str
    node_id: str
    service_name: str | None
    resource: str
    resource_schema_url: str
    scope: str
    scope_schema_url: str
    attributes: str


@dataclass(frozen=True, slots=True)
class Points:
    """Number points as parallel columns of one length.

    Attributes:
        series_id: int64.
        time_unix_nano: int64, always > 0.
        start_time_unix_nano: int64, 0 where unknown.
        value: float64; NaN and infinities are values like any other.
        recorded: bool; False is OTLP's "no recorded value", whatever `value` holds.
    """

    series_id: Int64Array
    time_unix_nano: Int64Array
    start_time_unix_nano: Int64Array
    value: npt.NDArray[np.float64]
    recorded: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.series_id)

    def take(self, positions: npt.NDArray[np.intp]) -> Points:
        """The rows at these positions, in their order."""
        return Points(
            series_id=self.series_id[positions],
            time_unix_nano=self.time_unix_nano[positions],
            start_time_unix_nano=self.start_time_unix_nano[positions],
            value=self.value[positions],
            recorded=self.recorded[positions],
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Points]) -> Points:
        """All rows of the parts, in their order."""
        filled = [part for part in parts if len(part)]
        if not filled:
            return NO_POINTS
        if len(filled) == 1:
            return filled[0]
        return cls(
            series_id=np.concatenate([part.series_id for part in filled]),
            time_unix_nano=np.concatenate([part.time_unix_nano for part in filled]),
            start_time_unix_nano=np.concatenate([part.start_time_unix_nano for part in filled]),
            value=np.concatenate([part.value for part in filled]),
            recorded=np.concatenate([part.recorded for part in filled]),
        )


NO_POINTS: Final = Points(
    series_id=np.empty(0, np.int64),
    time_unix_nano=np.empty(0, np.int64),
    start_time_unix_nano=np.empty(0, np.int64),
    value=np.empty(0, np.float64),
    recorded=np.empty(0, np.bool_),
)


@dataclass(frozen=True, slots=True)
class ExponentialBuckets:
    """The part of a histogram point that only exponential histograms have.

    Bucket i of the positive range counts values in (base^i, base^(i+1)], with
    base = 2^(2^-scale); the first element of `positive_counts` is bucket `positive_offset`.
    """

    scale: int
    zero_count: int
    zero_threshold: float
    positive_offset: int
    positive_counts: tuple[int, ...]
    negative_offset: int
    negative_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """One point of a histogram, explicit (`bounds`, `bucket_counts`) or exponential.

    `count` is None for "no recorded value". `sum`, `min` and `max` are None where the sender
    left them out. `bounds` and `bucket_counts` are both empty where there are no buckets;
    otherwise there is one count more than there are bounds.
    """

    series_id: int
    time_unix_nano: int
    start_time_unix_nano: int
    count: int | None
    sum: float | None
    min: float | None
    max: float | None
    bounds: tuple[float, ...] = ()
    bucket_counts: tuple[int, ...] = ()
    exponential: ExponentialBuckets | None = None


@dataclass(frozen=True, slots=True)
class SummaryPoint:
    """One point of a summary; `count` is None for "no recorded value"."""

    series_id: int
    time_unix_nano: int
    start_time_unix_nano: int
    count: int | None
    sum: float | None
    quantiles: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One measurement that went into a point, with the trace it was made in.

    `trace_id` (32 digits) and `span_id` (16) are lower-case hex, "" where absent;
    `attributes` is canonical JSON of what the point's own attributes leave out.
    """

    series_id: int
    time_unix_nano: int
    value: float
    trace_id: str
    span_id: str
    attributes: str


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
        made_of: the point of a series that it was made of, from which later points are counted;
            the entry takes the place of one with its id and time. None for all others.
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
    made_of: SeriesPoint | None = None


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

    def joined(self, other: CostCursor) -> CostCursor:
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


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a writer has come once the batch that carries this is stored.

    Attributes:
        writer_id: names the writer, the same after its restart.
        sequence: 1 or more; grows from batch to batch of the writer.
    """

    writer_id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One row that a backend refused for its content, in a form that every backend can keep.

    Attributes:
        kind: what it is; a series that is refused has its points refused with it.
        reason: why, in the backend's words.
        series_id: of the row, or of the series itself; 0 for a cost entry of no series.
        metric_name: the beginning of it; None where the batch did not define the series.
        time_unix_nano: of the row; None for a series.
        content: JSON object with the fields of the refused value, under the names in this module;
            NaN and infinities are the strings "NaN", "Infinity" and "-Infinity".
    """

    kind: DeadLetterKind
    reason: str
    series_id: int
    metric_name: str | None
    time_unix_nano: int | None
    content: str


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction stores: points of every kind, and the series that are new in it.

    `new_series` holds the definition of every series that the backend may not have yet; writing
    one that it already has is harmless. With a `mark` the backend stores the batch once, however
    often it is written. `dead` is what was refused of it before, and is kept apart.

    Histograms and exemplars may be columns still, of which rows are made when they are first read.

    Its rows are its points, histograms, summaries and exemplars, in this order. `cost_cursors` are
    no rows: each says how far a series had come in a store that this one goes on from.
    """

    new_series: tuple[Series, ...] = ()
    points: Points = field(default_factory=lambda: NO_POINTS)
    histograms: Sequence[HistogramPoint] = ()
    summaries: tuple[SummaryPoint, ...] = ()
    exemplars: Sequence[Exemplar] = ()
    mark: Mark | None = None
    dead: tuple[DeadLetter, ...] = ()
    costs: tuple[CostEntry, ...] = ()
    cost_samples: tuple[CostSample, ...] = ()
    cost_cursors: tuple[CostCursor, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows: data points of any type, exemplars, costs and cost samples."""
        return self.entries + len(self.exemplars) + len(self.cost_samples)

    @property
    def entries(self) -> int:
        """How many data points of any type and complete cost entries.

        Exemplars and cost samples ride with their points and are not counted.
        """
        return len(self.points) + len(self.histograms) + len(self.summaries) + len(self.costs)

    def without(self, series_ids: Collection[int]) -> Batch:
        """The batch less the points, exemplars and cost samples of these series."""
        if not series_ids:
            return self
        wanted = ~np.isin(self.points.series_id, np.fromiter(series_ids, np.int64))
        return replace(
            self,
            points=self.points.take(np.flatnonzero(wanted)),
            histograms=tuple(item for item in self.histograms if item.series_id not in series_ids),
            summaries=tuple(item for item in self.summaries if item.series_id not in series_ids),
            exemplars=tuple(item for item in self.exemplars if item.series_id not in series_ids),
            cost_samples=tuple(
                item for item in self.cost_samples if item.series_id not in series_ids
            ),
        )

    def take(self, positions: npt.NDArray[np.intp]) -> Batch:
        """The batch less its other rows; definitions, mark and dead letters stay.

        Args:
            positions: of the rows that are wanted, rising.
        """
        chosen: dict[str, list[int]] = {}
        begin = len(self.points)
        for name in _RARER_ROWS:
            first, end = np.searchsorted(positions, (begin, begin + len(getattr(self, name))))
            chosen[name] = (positions[first:end] - begin).tolist()
            begin += len(getattr(self, name))
        points = self.points.take(positions[: np.searchsorted(positions, len(self.points))])
        return replace(
            self,
            points=points,
            histograms=tuple(self.histograms[place] for place in chosen["histograms"]),
            summaries=tuple(self.summaries[place] for place in chosen["summaries"]),
            exemplars=tuple(self.exemplars[place] for place in chosen["exemplars"]),
            costs=tuple(self.costs[place] for place in chosen["costs"]),
            cost_samples=tuple(self.cost_samples[place] for place in chosen["cost_samples"]),
        )

    @classmethod
    def merge(cls, parts: Iterable[Batch]) -> Batch:
        """One batch with everything that the parts hold, in their order, and the last mark.

        Its mark says that all of them are stored: the parts are one writer's, in its order.
        """
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]

        def all_of(name: str) -> tuple[Any, ...]:
            return tuple(item for part in parts for item in getattr(part, name))

        return cls(
            new_series=all_of("new_series"),
            points=Points.concatenate(part.points for part in parts),
            histograms=joined([part.histograms for part in parts]),
            summaries=all_of("summaries"),
            exemplars=joined([part.exemplars for part in parts]),
            mark=next((part.mark for part in reversed(parts) if part.mark is not None), None),
            dead=all_of("dead"),
            costs=all_of("costs"),
            cost_samples=all_of("cost_samples"),
            cost_cursors=all_of("cost_cursors"),
        )


_RARER_ROWS: Final = ("histograms", "summaries", "exemplars", "costs", "cost_samples")


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What a backend did with a batch.

    Attributes:
        stored: data points and complete cost entries that are in the backend now because of this
            batch, or of an earlier one that held the same cost entries.
        refused: data points left out because their series id belongs to another series there
            (a hash collision); each is named in a log line.
        evicted: rows that a bounded backend let go to make room, over all its tables.
        altered_texts: texts in what was written, definitions and dead letters with it, of which
            the backend cannot hold a character, so that another stands for it.
        forgotten_series: ids whose definition the backend no longer has.
        already_stored: whether an earlier attempt at this batch, or a later batch of its writer,
            had been stored, so that nothing was written now; `stored` counts as if it had been.
            `altered_texts` does so where that attempt was one of this backend object.
    """

    stored: int
    refused: int = 0
    evicted: int = 0
    altered_texts: int = 0
    forgotten_series: frozenset[int] = frozenset()
    already_stored: bool = False


@dataclass(frozen=True, slots=True)
class TableSize:
    """How much one fact table holds.

    Attributes:
        table: its name, as in docs/schema.md.
        rows: how many; the database's own estimate where counting would read the whole table.
        rows_are_exact: whether they were counted.
        size_bytes: with indexes, and with those of its partitions; None where unknown.
        oldest_unix_nano: time of the oldest row, None where there is none.
        newest_unix_nano: likewise of the newest.
        times_are_exact: False where they are the bounds of the outermost partitions that have
            rows, because finding the rows would read these partitions whole.
        partitions: how many partitions or chunks; None where the backend makes none.
        compressed_partitions: of these, compressed; None where the backend cannot compress.
        compression_ratio: bytes before over bytes after, of the compressed partitions; None
            where there are none.
    """

    table: str
    rows: int
    rows_are_exact: bool
    size_bytes: int | None
    oldest_unix_nano: int | None
    newest_unix_nano: int | None
    times_are_exact: bool = True
    partitions: int | None = None
    compressed_partitions: int | None = None
    compression_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class StoreSizes:
    """How much a backend holds.

    Attributes:
        tables: every fact table, in the order of docs/schema.md; empty ones too.
        series: series that are defined, with points or without.
        total_bytes: everything that this store takes: all its tables with indexes, and files that
            belong to it alone. Not other programs' tables in the same database.
        free_bytes: of these, space without content that new rows will take; None where unknown.
    """

    tables: tuple[TableSize, ...]
    series: int
    total_bytes: int
    free_bytes: int | None = None
