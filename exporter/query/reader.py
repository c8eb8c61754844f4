"""The questions that can be put to a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from exporter.backends.base import Backend
from exporter.errors import QueryError
from exporter.query.aggregates import Aggregation, aggregate_rows, require_answerable
from exporter.query.catalog import (
    metric_names_statement,
    metric_rows,
    metrics_statement,
    nearest,
    series_rows,
    series_statement,
)
from exporter.query.grouping import choose, group_names, members_statement
from exporter.query.history import (
    TABLE_OF_TYPE,
    definitions_statement,
    few_series_statement,
    history_statement,
    of_series,
    point_columns,
    types_statement,
)
from exporter.query.history_rows import history_rows
from exporter.query.scope import Scope
from exporter.query.selection import Filters, TimeRange, among, row_limit, series_condition
from exporter.query.sql import Sql
from exporter.query.storage import sizes_as_dict
from exporter.query.times import Time, duration_micros

__all__ = ["Reader"]

_FEW_NAMES: Final = 8


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
        time_range, most = TimeRange.of(start_time, end_time), row_limit(limit)
        filters = Filters(metric_name, cluster_id, node_id, service_name, attributes or {})
        condition = series_condition(filters, self._backend.dialect)
        self._settle()
        tables, series = self._tables_of(condition)
        if not tables:
            return []
        dialect = self._backend.dialect
        points = self._fetch(history_statement(tables, series, time_range, most, dialect))
        series_ids = dict.fromkeys(point[1] for point in points)
        definitions = self._fetch(definitions_statement(series_ids, dialect))
        return history_rows(points, point_columns(tables), definitions)

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

        `exporter.query.aggregates` says what each aggregation means, `exporter.query.changes` how
        rate and increase handle resets. Buckets without points are left out.

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
        most = None if limit is None else row_limit(limit)
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
        most = row_limit(limit)
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

    def _tables_of(self, condition: Sql | None) -> tuple[list[str], Sql | None]:
        """The tables with points of some series, and the condition on points that picks them."""
        if condition is not None and self._backend.dialect.series_among is not None:
            few = self._fetch(few_series_statement(condition))
            named = among([series_id for _, series_id in few], self._backend.dialect)
            if named is not None:
                return sorted({TABLE_OF_TYPE[metric_type] for metric_type, _ in few}), named
        types = self._fetch(types_statement(condition))
        tables = sorted({TABLE_OF_TYPE[metric_type] for (metric_type,) in types})
        return tables, None if condition is None else of_series(condition)

    def _settle(self) -> None:
        if self._flush is not None:
            self._flush()

    def _fetch(self, statement: Sql) -> list[tuple[Any, ...]]:
        text = statement.render(self._backend.dialect.placeholder)
        return self._backend.fetch(text, statement.parameters)

    def _require_known(self, metric_name: str) -> None:
        dialect = self._backend.dialect
        if self._fetch(series_statement(series_condition(Filters(metric_name), dialect), limit=1)):
            return  # it is there, and the other filters leave nothing of it
        names = [name for (name,) in self._fetch(metric_names_statement())]
        where = self._backend.location
        if not names:
            raise QueryError(f"metric {metric_name!r}: {where} has no metrics yet; send some first")
        if likely := nearest(metric_name, names):
            advice = f"did you mean {', '.join(likely)}?"
        elif len(names) <= _FEW_NAMES:
            advice = f"there are {', '.join(names)}"
        else:
            advice = f"list the metrics to see the {len(names)} that are"
        raise QueryError(f"metric {metric_name!r} is not stored in {where}; {advice}")
