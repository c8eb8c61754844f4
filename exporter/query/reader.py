"""The questions that can be put to a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from exporter.backends.base import Backend
from exporter.query.aggregate_query import Scope
from exporter.query.aggregates import Aggregation, aggregate_rows, require_answerable
from exporter.query.catalog import (
    metric_names_statement,
    metric_rows,
    metrics_statement,
    no_such_metric,
    series_rows,
    series_statement,
)
from exporter.query.cost_totals import (
    TotalsQuestion,
    rollups_of,
    total_rows,
    totals_statement,
)
from exporter.query.costs import (
    CostFilters,
    cost_groups,
    cost_rows,
    costs_statement,
)
from exporter.query.filters import Filters, TimeRange, checked_limit, series_condition
from exporter.query.latest_points import NewestPoints
from exporter.query.rollup_planner import coverage_of
from exporter.query.series_selection import choose, group_names, members_statement
from exporter.query.sql import Sql, fetch_all
from exporter.query.storage import sizes_as_dict
from exporter.query.times import Time, duration_micros

__all__ = ["Reader"]


class Reader:
    """Reads a started backend; answers are lists of plain dicts that belong to the caller.

    Filters are the same everywhere: `metric_name` (with the wildcards `*` and `?`),
    `cluster_id`, `node_id`, `service_name`, and `attributes` (name to value, of the point or,
    where it has none of that name, of the resource; compared as text, numbers also by value).
    Times are epoch seconds or datetimes (a naive one is UTC). A range holds its start and not
    its end; None is unbounded, 0.0 is 1970.

    Any thread may call it. Every method raises `QueryError` for a question that has no answer as
    it was put, and what the backend raises.

    Args:
        backend: a started one.
        flush: called before each read, so that what this process acknowledged is there.
    """

    def __init__(self, backend: Backend, flush: Callable[[], object] | None = None) -> None:
        self._backend = backend
        self._flush = flush
        self._newest = NewestPoints(self._fetch, backend.dialect)

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
    ) -> list[dict[str, Any]]:
        """The points of every type, newest first.

        Returns:
            Dicts with timestamp, metric_name, metric_type, value (None: no recorded value, and
            for what is no gauge or sum), unit, cluster_id, node_id, service_name, attributes,
            resource, temporality, is_monotonic, start_timestamp (None: unknown). Histograms also
            have count, sum, min, max, and bounds and bucket_counts, or scale, zero_count,
            zero_threshold, positive_offset, positive_counts, negative_offset, negative_counts;
            summaries have count, sum and quantiles (dicts of quantile and value). Empty if no
            series fits.
        """
        time_range, most = TimeRange.of(start_time, end_time), checked_limit(limit)
        filters = Filters(metric_name, cluster_id, node_id, service_name, attributes or {})
        condition = series_condition(filters, self._backend.dialect)
        self._settle()
        return self._newest.read(condition, time_range, most)

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
    ) -> list[dict[str, Any]]:
        """One number for each bucket of time and group, newest bucket first.

        `exporter.query.aggregates` says what each aggregation means, and
        `exporter.query.counter_deltas` how rate and increase handle resets.
        Buckets without points are left out.

        Args:
            metric_name: a name, or a pattern; metrics of different name, type or unit are never
                put together.
            aggregation: min, max, avg, sum, last, count, rate, increase, or a quantile such as
                p50 or p99.9.
            start_time: see the class.
            end_time: see the class.
            bucket_seconds: length of a bucket; they begin at multiples of it since 1970. None: the
                whole range is one.
            group_by: metric_name, cluster_id, node_id, service_name, or names of attributes of
                the point or, where it has none of that name, of the resource.
            cluster_id: see the class.
            node_id: see the class.
            service_name: see the class.
            attributes: see the class.
            limit: most rows, the newest; None for all.

        Returns:
            Dicts with timestamp (the start of the bucket; of the only one, the start of the range
            or the first point), metric_name, metric_type, aggregation, value, unit (of the
            value), the columns that were grouped by, and attributes (those grouped by).

        Raises:
            QueryError: also if no such metric is stored, naming those that are spelled alike.
        """
        question = Aggregation.of(aggregation)
        names = group_names(group_by)
        width = (
            None if bucket_seconds is None else duration_micros(bucket_seconds, "bucket_seconds")
        )
        time_range = TimeRange.of(start_time, end_time)
        most = None if limit is None else checked_limit(limit)
        filters = Filters(metric_name, cluster_id, node_id, service_name, attributes or {})
        condition = series_condition(filters, self._backend.dialect)
        self._settle()
        chosen = choose(self._fetch(members_statement(condition)), names)
        if not chosen.members:
            self._require_known(metric_name)
            return []
        require_answerable(question, chosen.members)
        scope = Scope(
            chosen, time_range, width, time_range.start_micros or 0, most, self._backend.dialect
        )
        return aggregate_rows(question, scope, self._fetch)

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
    ) -> list[dict[str, Any]]:
        """Cost entries, newest first; without those of points that came to nothing.

        Args:
            start_time: see the class.
            end_time: see the class.
            category: only of this one.
            resource_id: likewise.
            limit: most entries, the newest.
            tags: name to value; compared as attributes are.
            **columns: what others of `exporter.query.costs.COST_GROUPS` must equal, such as region.

        Returns:
            Dicts with entry_id, timestamp, resource_id, category, amount (the nearest double),
            currency, region, cluster_id, node_id, service_name, tags, description,
            billing_period and source.
        """
        time_range, most = TimeRange.of(start_time, end_time), checked_limit(limit)
        texts = {"category": category, "resource_id": resource_id, **columns}
        filters = CostFilters(texts, tags or {})
        self._settle()
        dialect = self._backend.dialect
        return cost_rows(self._fetch(costs_statement(filters, time_range, most, dialect)))

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
    ) -> list[dict[str, Any]]:
        """What entries add up to, exactly, for each bucket of time, currency and group.

        Args:
            start_time: see the class.
            end_time: see the class.
            group_by: names of `exporter.query.costs.COST_GROUPS`, or of tags.
            bucket_seconds: length of a bucket, from multiples of it since 1970; None: one.
            limit: most rows; None for all.
            tags: as for `query_historical_costs`.
            **columns: likewise.

        Returns:
            Dicts with timestamp (the start of the bucket, if there are several), what was grouped
            by, currency, amount (a Decimal) and entries (how many); newest bucket first, then by
            currency and amount, the largest first.
        """
        width = (
            None if bucket_seconds is None else duration_micros(bucket_seconds, "bucket_seconds")
        )
        question = TotalsQuestion(
            CostFilters(columns, tags or {}),
            TimeRange.of(start_time, end_time),
            cost_groups(group_by),
            width,
            None if limit is None else checked_limit(limit),
        )
        self._settle()
        dialect, rollups = self._backend.dialect, rollups_of(question)
        coverage = coverage_of(rollups, question.time_range, width, dialect, self._fetch)
        statement = totals_statement(question, dialect, coverage)
        return total_rows(question, self._fetch(statement))

    def list_metrics(self, *, with_counts: bool = False) -> list[dict[str, Any]]:
        """Every metric that was ever received, by name.

        Args:
            with_counts: read all points, which takes a while where there are many millions.

        Returns:
            Dicts with metric_name, metric_type, unit, description, series (how many) and
            last_timestamp (epoch seconds; None if the metric is not among the newest 100,000
            points); with counts also points and first_timestamp, and last_timestamp wherever
            there are points.
        """
        self._settle()
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
    ) -> list[dict[str, Any]]:
        """The definitions of series, by metric name.

        Returns:
            Dicts with series_id, metric_name, metric_type, unit, description, temporality,
            is_monotonic, cluster_id, node_id, service_name, attributes, resource and scope.
        """
        most = checked_limit(limit)
        filters = Filters(metric_name, cluster_id, node_id, service_name, attributes or {})
        condition = series_condition(filters, self._backend.dialect)
        self._settle()
        return series_rows(self._fetch(series_statement(condition, most)))

    def store_sizes(self) -> dict[str, Any]:
        """How much is stored; see `exporter.model.StoreSizes` for what each number means.

        Returns:
            A dict with series (how many), total_bytes, free_bytes (None: unknown) and tables, a
            list of dicts with table, rows, rows_are_exact, size_bytes, oldest_timestamp and
            newest_timestamp (epoch seconds; None: there are no rows), times_are_exact,
            partitions, compressed_partitions and compression_ratio (None: has none).
        """
        self._settle()
        return sizes_as_dict(self._backend.sizes())

    def _settle(self) -> None:
        if self._flush is not None:
            self._flush()

    def _fetch(self, statement: Sql) -> list[tuple[Any, ...]]:
        return fetch_all(self._backend, statement)

    def _require_known(self, metric_name: str) -> None:
        dialect = self._backend.dialect
        if self._fetch(series_statement(series_condition(Filters(metric_name), dialect), limit=1)):
            return  # it is there, and the other filters leave nothing of it
        names = [name for (name,) in self._fetch(metric_names_statement())]
        raise no_such_metric(metric_name, names, self._backend.location)
