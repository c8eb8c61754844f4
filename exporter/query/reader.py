"""The questions that a store can be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exporter.backends.base import Backend
from exporter.query.aggregate_query import AggregateQuery, group_names, select_series
from exporter.query.aggregations import Aggregation, aggregate_rows, require_supported
from exporter.query.catalog import (
    definitions_statement,
    metric_names_statement,
    metric_rows,
    metrics_statement,
    series_rows,
    series_statement,
    sizes_row,
    unknown_metric_error,
)
from exporter.query.costs import (
    REPORT_GROUPS,
    CostFilters,
    CostTotalsQuery,
    cost_group_names,
    cost_rows,
    costs_statement,
    plan_cost_rollup,
    report_rows,
    report_statement,
    total_rows,
    totals_statement,
)
from exporter.query.filters import SeriesFilters, checked_limit, series_condition
from exporter.query.newest_points import newest_points
from exporter.query.rows import (
    AggregateRow,
    CostReportRow,
    CostRow,
    CostTotalRow,
    MetricRow,
    PointRow,
    SeriesRow,
    StoreSizesRow,
)
from exporter.query.sql_builder import Sql, fetch_all
from exporter.query.times import Time, TimeRange, duration_micros


class Reader:
    """Reads a started backend. Answers are lists of plain dicts that belong to the caller.

    `exporter.query.rows` describes their fields. The arguments mean the same in all methods:
    `metric_name` may have the wildcards `*` and `?`. `attributes` are names and values of the point
    or, if the point lacks a name, of the resource; they are compared as text, numbers also by
    value. Times are epoch seconds or datetimes (a naive one is UTC). A range includes its start and
    excludes its end; None is unbounded, 0.0 is 1970.

    Any thread may call it. Every method raises `QueryError` for a question that cannot be answered
    as it was asked, and what the backend raises.

    Args:
        backend: started.
        flush: called before each read, so that the read sees what this process has acknowledged.
    """

    def __init__(self, backend: Backend, flush: Callable[[], object] | None = None) -> None:
        self._backend = backend
        self._flush = flush

    def query_historical_metrics(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        cluster_id: str | None = None,
        node_id: str | None = None,
        limit: int = 1000,
        *,
        metric_name: str | None = None,
        service_name: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> list[PointRow]:
        """The points of every type, newest first; empty if no series matches."""
        time_range, most = TimeRange.of(start_time, end_time), checked_limit(limit)
        filters = SeriesFilters(metric_name, cluster_id, node_id, service_name, attributes or {})
        condition = series_condition(filters, self._backend.dialect)
        self._flush_writes()
        return newest_points(self._backend, condition, time_range, most)

    def aggregate(
        self,
        metric_name: str,
        *,
        aggregation: str,
        start_time: Time | None = None,
        end_time: Time | None = None,
        bucket_seconds: float | None = None,
        group_by: Sequence[str] = (),
        cluster_id: str | None = None,
        node_id: str | None = None,
        service_name: str | None = None,
        attributes: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> list[AggregateRow]:
        """One value for each bucket of time and group, newest bucket first.

        `exporter.query.aggregations` defines each aggregation, `exporter.query.counter_deltas` how
        rate and increase handle resets. Buckets without points are left out.

        Args:
            metric_name: a name or a pattern. Metrics of different name, type or unit are never
                combined.
            aggregation: min, max, avg, sum, last, count, rate, increase, or a quantile such as
                p50 or p99.9.
            start_time: see the class.
            end_time: see the class.
            bucket_seconds: width of a bucket; buckets begin at multiples of it since 1970. None:
                the whole range is one.
            group_by: metric_name, cluster_id, node_id, service_name, or an attribute of the point
                or, if the point lacks it, of the resource.
            cluster_id: only of this cluster.
            node_id: only of this node.
            service_name: only of this service.
            attributes: see the class.
            limit: the maximum number of rows, the newest; None for all.

        Raises:
            QueryError: also if no such metric is stored; it names similar ones.
        """
        wanted, names = Aggregation.of(aggregation), group_names(group_by)
        bucket_micros = _bucket_micros(bucket_seconds)
        time_range = TimeRange.of(start_time, end_time)
        most = None if limit is None else checked_limit(limit)
        filters = SeriesFilters(metric_name, cluster_id, node_id, service_name, attributes or {})
        dialect = self._backend.dialect
        condition = series_condition(filters, dialect)
        self._flush_writes()
        selection = select_series(self._fetch(definitions_statement(condition)), names)
        if not selection.series:
            self._require_known(metric_name)
            return []
        require_supported(wanted, selection.series)
        origin_micros = time_range.start_micros or 0
        query = AggregateQuery(selection, time_range, bucket_micros, origin_micros, most, dialect)
        return aggregate_rows(wanted, query, self._backend)

    def query_historical_costs(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        category: str | None = None,
        resource_id: str | None = None,
        limit: int = 1000,
        *,
        tags: Mapping[str, str] | None = None,
        **columns: str | None,
    ) -> list[CostRow]:
        """Cost entries, newest first, without those of points that cost nothing.

        Args:
            start_time: see the class.
            end_time: see the class.
            category: only of this category.
            resource_id: only of this resource.
            limit: the maximum number of entries, the newest.
            tags: names and values; compared as attributes are.
            **columns: the values of other columns of `exporter.query.costs.COST_GROUPS`, such as
                region.
        """
        time_range, most = TimeRange.of(start_time, end_time), checked_limit(limit)
        filters = CostFilters(
            {"category": category, "resource_id": resource_id, **columns}, tags or {}
        )
        self._flush_writes()
        statement = costs_statement(filters, time_range, most, self._backend.dialect)
        return cost_rows(self._fetch(statement))

    def cost_totals(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        *,
        group_by: Sequence[str] = (),
        bucket_seconds: float | None = None,
        limit: int | None = None,
        tags: Mapping[str, str] | None = None,
        **columns: str | None,
    ) -> list[CostTotalRow]:
        """The exact sums of cost entries, for each bucket of time, currency and group.

        Args:
            start_time: see the class.
            end_time: see the class.
            group_by: names of `exporter.query.costs.COST_GROUPS`, or of tags.
            bucket_seconds: width of a bucket; buckets begin at multiples of it since 1970. None:
                the whole range is one.
            limit: the maximum number of rows; None for all.
            tags: as in `query_historical_costs`.
            **columns: as in `query_historical_costs`.

        Returns:
            The newest bucket first, then by currency, then the largest amount first.
        """
        query = CostTotalsQuery(
            CostFilters(columns, tags or {}),
            TimeRange.of(start_time, end_time),
            cost_group_names(group_by),
            _bucket_micros(bucket_seconds),
            None if limit is None else checked_limit(limit),
        )
        self._flush_writes()
        plan = plan_cost_rollup(query, self._backend.hypertable_catalog)
        return total_rows(query, self._fetch(totals_statement(query, self._backend.dialect, plan)))

    def cost_report(
        self,
        start_time: Time | None = None,
        end_time: Time | None = None,
        *,
        bucket_seconds: float,
        top: int,
        tags: Mapping[str, str] | None = None,
        **columns: str | None,
    ) -> list[CostReportRow]:
        """The exact sums of cost entries by bucket, by category and by resource, read at once.

        Args:
            start_time: see the class.
            end_time: see the class.
            bucket_seconds: as in `cost_totals`.
            top: the maximum number of resources of a currency; one more row is the sum of the
                others, and has another `name`.
            tags: as in `query_historical_costs`.
            **columns: as in `query_historical_costs`.

        Returns:
            By part and currency; buckets by time, categories by name, resources by amount, the
            largest first. Groups without costs are left out.
        """
        query = CostTotalsQuery(
            CostFilters(columns, tags or {}),
            TimeRange.of(start_time, end_time),
            REPORT_GROUPS,
            _bucket_micros(bucket_seconds),
        )
        self._flush_writes()
        plan = plan_cost_rollup(query, self._backend.hypertable_catalog)
        statement = report_statement(query, checked_limit(top), self._backend.dialect, plan)
        return report_rows(self._fetch(statement))

    def list_metrics(self, *, with_counts: bool = False) -> list[MetricRow]:
        """Every metric that was ever received, by name.

        Args:
            with_counts: count all points, which takes 0.3 s per million. Without it, only the
                newest 100,000 points of each table are searched for `last_timestamp`.
        """
        self._flush_writes()
        statement = metrics_statement(self._backend.dialect, with_counts=with_counts)
        return metric_rows(self._fetch(statement), with_counts=with_counts)

    def list_series(
        self,
        metric_name: str | None = None,
        *,
        cluster_id: str | None = None,
        node_id: str | None = None,
        service_name: str | None = None,
        attributes: Mapping[str, str] | None = None,
        limit: int = 1000,
    ) -> list[SeriesRow]:
        """The definitions of series, by metric name."""
        most = checked_limit(limit)
        filters = SeriesFilters(metric_name, cluster_id, node_id, service_name, attributes or {})
        condition = series_condition(filters, self._backend.dialect)
        self._flush_writes()
        return series_rows(self._fetch(series_statement(condition, most)))

    def store_sizes(self) -> StoreSizesRow:
        """How much is stored; `exporter.model.StoreSizes` describes the numbers."""
        self._flush_writes()
        return sizes_row(self._backend.sizes())

    def _flush_writes(self) -> None:
        if self._flush is not None:
            self._flush()

    def _fetch(self, statement: Sql) -> list[tuple[Any, ...]]:
        return fetch_all(self._backend, statement)

    def _require_known(self, metric_name: str) -> None:
        """Raise if the metric is not stored.

        If it is stored, the other filters matched no series and the result is empty.
        """
        condition = series_condition(SeriesFilters(metric_name), self._backend.dialect)
        if self._fetch(definitions_statement(condition, 1)):
            return
        names = [name for (name,) in self._fetch(metric_names_statement())]
        raise unknown_metric_error(metric_name, names, self._backend.location)


def _bucket_micros(bucket_seconds: float | None) -> int | None:
    return None if bucket_seconds is None else duration_micros(bucket_seconds, "bucket_seconds")
