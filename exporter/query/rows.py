"""The types of the rows that `Reader` returns: plain dicts at run time, typed for a type checker.

Times are epoch seconds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, NotRequired, TypedDict

from exporter.model import CostSource, MetricType, Temporality


class QuantileValue(TypedDict):
    """One quantile of a summary; `quantile` is 0 to 1."""

    quantile: float
    value: float


class PointRow(TypedDict):
    """One point.

    `value` is None if the point has no recorded value, and for every metric that is not a gauge or
    a sum. `start_timestamp` is None if it is unknown. Histograms also have count, sum, min and max,
    with bounds and bucket_counts or the fields of an exponential histogram; summaries have count,
    sum and quantiles.
    """

    timestamp: float
    metric_name: str
    metric_type: MetricType
    value: float | None
    unit: str
    cluster_id: str
    node_id: str
    service_name: str | None
    attributes: dict[str, Any]
    resource: dict[str, Any]
    temporality: Temporality | None
    is_monotonic: bool | None
    start_timestamp: float | None
    count: NotRequired[int | None]
    sum: NotRequired[float | None]
    min: NotRequired[float | None]
    max: NotRequired[float | None]
    bounds: NotRequired[list[float]]
    bucket_counts: NotRequired[list[int]]
    scale: NotRequired[int | None]
    zero_count: NotRequired[int | None]
    zero_threshold: NotRequired[float | None]
    positive_offset: NotRequired[int | None]
    positive_counts: NotRequired[list[int]]
    negative_offset: NotRequired[int | None]
    negative_counts: NotRequired[list[int]]
    quantiles: NotRequired[list[QuantileValue]]


class AggregateRow(TypedDict):
    """One value for a bucket of time and a group.

    `timestamp` is the start of the bucket. If the whole range is one bucket it is the start of the
    range, or the first point of an unbounded one. `unit` is that of `value`. The columns grouped
    by are present, the attributes grouped by are in `attributes`.
    """

    timestamp: float
    metric_name: str
    metric_type: MetricType
    aggregation: str
    value: float
    unit: str
    cluster_id: NotRequired[str]
    node_id: NotRequired[str]
    service_name: NotRequired[str | None]
    attributes: dict[str, Any]


class CostRow(TypedDict):
    """One cost entry, which can be written as JSON.

    `amount_exact` is a decimal number as text, and `amount` the double that is nearest to it.
    The cost arose after `period_start`, None if that is unknown, up to `period_end`. `source_name`
    is the metric or log event that the entry came from, "" if there is none.
    """

    entry_id: str
    timestamp: float
    resource_id: str
    category: str
    amount: float
    amount_exact: str
    currency: str
    region: str | None
    cluster_id: str
    node_id: str
    service_name: str | None
    tags: dict[str, Any]
    description: str
    billing_period: str
    source: CostSource
    source_name: str
    period_start: float | None
    period_end: float


class CostTotalRow(TypedDict):
    """The exact sum of cost entries of one bucket of time, currency and group.

    `timestamp` is the start of the bucket, and missing if the whole range is one. The columns and
    the tags grouped by are present under their names; `entries` is how many entries were added.
    """

    timestamp: NotRequired[float]
    category: NotRequired[str]
    resource_id: NotRequired[str]
    region: NotRequired[str | None]
    cluster_id: NotRequired[str]
    node_id: NotRequired[str]
    service_name: NotRequired[str | None]
    billing_period: NotRequired[str]
    source: NotRequired[CostSource]
    source_name: NotRequired[str]
    currency: str
    amount: Decimal
    entries: int


class CostReportRow(TypedDict):
    """The exact sum of cost entries of one currency in one bucket of time, category or resource.

    `timestamp` is the start of a bucket, and None for the others; `name` is that of the category or
    resource. If `groups` is above 1, it is the sum of so many resources that cost less than those
    with a row of their own.
    """

    part: Literal["bucket", "category", "resource_id"]
    currency: str
    timestamp: float | None
    name: str
    amount: Decimal
    groups: int


class MetricRow(TypedDict):
    """One metric: a name with a type and a unit.

    `series` is how many series it has. `last_timestamp` is None if it has no point among those
    that were read; `points` and `first_timestamp` are present if the points were counted.
    """

    metric_name: str
    metric_type: MetricType
    unit: str
    description: str
    series: int
    points: NotRequired[int]
    first_timestamp: NotRequired[float | None]
    last_timestamp: float | None


class SeriesRow(TypedDict):
    """The definition of one series."""

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
    attributes: dict[str, Any]
    resource: dict[str, Any]
    scope: dict[str, Any]


class TableSizeRow(TypedDict):
    """How much one table holds; see `exporter.model.TableSize`."""

    table: str
    rows: int
    rows_are_exact: bool
    size_bytes: int | None
    oldest_timestamp: float | None
    newest_timestamp: float | None
    times_are_exact: bool
    partitions: int | None
    compressed_partitions: int | None
    compression_ratio: float | None


class StoreSizesRow(TypedDict):
    """How much is stored; see `exporter.model.StoreSizes`."""

    series: int
    total_bytes: int
    free_bytes: int | None
    tables: list[TableSizeRow]
