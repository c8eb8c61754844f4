"""The newest points of some series: where they are looked for, and by windows where that pays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.query.chunk_windows import MANY_SERIES, NewestChunk, read_windows
from exporter.query.filters import TimeRange, among
from exporter.query.point_rows import history_rows
from exporter.query.point_sql import (
    DEFINITION_COLUMNS,
    TABLE_OF_TYPE,
    definitions_statement,
    few_definitions_statement,
    history_statement,
    point_columns,
    series_id_in_subquery,
    types_statement,
)
from exporter.query.sql import Sql

__all__ = ["NewestPoints"]

_Rows = list[tuple[Any, ...]]

# Of more, the chunk has to be unpacked anyway.
_FEW_POINTS: Final = 100_000
_ID_AT: Final = DEFINITION_COLUMNS.index("series_id")
_TYPE_AT: Final = DEFINITION_COLUMNS.index("metric_type")


class NewestPoints:
    """Reads them; any thread may ask.

    Args:
        fetch: runs a statement.
        dialect: of the database.
    """

    def __init__(self, fetch: Callable[[Sql], _Rows], dialect: Dialect) -> None:
        self._fetch = fetch
        self._dialect = dialect
        self._newest_chunk = NewestChunk(fetch, dialect)

    def read(self, condition: Sql | None, time_range: TimeRange, most: int) -> list[dict[str, Any]]:
        """The points of every type, newest first; see `Reader.query_historical_metrics`.

        Args:
            condition: on the series, from `series_condition`.
            time_range: which.
            most: how many.
        """
        tables, series, definitions = self._tables_of(condition)
        if not tables:
            return []
        points = self._points(
            tables,
            (series, None if condition is None else series_id_in_subquery(condition)),
            time_range,
            most,
            may_have_windows=definitions is None or len(definitions) > MANY_SERIES,
        )
        if definitions is None:
            series_ids = dict.fromkeys(point[1] for point in points)
            definitions = self._fetch(definitions_statement(series_ids, self._dialect))
        return history_rows(points, point_columns(tables), definitions)

    def _tables_of(self, condition: Sql | None) -> tuple[list[str], Sql | None, _Rows | None]:
        """Tables with points of some series, what picks those, and the definitions if few."""
        if condition is not None and self._dialect.series_id_in_list is not None:
            few = self._fetch(few_definitions_statement(condition))
            named = among([row[_ID_AT] for row in few], self._dialect)
            if named is not None:
                return sorted({TABLE_OF_TYPE[row[_TYPE_AT]] for row in few}), named, few
        types = self._fetch(types_statement(condition))
        tables = sorted({TABLE_OF_TYPE[metric_type] for (metric_type,) in types})
        return tables, None if condition is None else series_id_in_subquery(condition), None

    def _points(
        self,
        tables: list[str],
        picks: tuple[Sql | None, Sql | None],
        time_range: TimeRange,
        most: int,
        *,
        may_have_windows: bool,
    ) -> _Rows:
        """Their rows.

        Args:
            tables: where they are.
            picks: the conditions on points, by the ids of their series where those are few, and as
                a join.
            time_range: which.
            most: how many.
            may_have_windows: whether they are of so many series that it may pay.
        """

        def ask(series: Sql | None, part: TimeRange, limit: int) -> _Rows:
            return self._fetch(history_statement(tables, series, part, limit, self._dialect))

        named, joined = picks
        may_pay = may_have_windows and self._dialect.may_have_rollups and most <= _FEW_POINTS
        if may_pay and "system_metrics" in tables:
            stretch = self._newest_chunk.stretch(time_range)
            if stretch is not None:
                of_window = partial(ask, joined if stretch.has_columns else named)
                of_all = partial(ask, named)
                return read_windows(of_window, of_all, time_range, stretch.time_range, most)
        return ask(named, time_range, most)
