"""The newest points of some series: where they are looked for, and by windows where that pays."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from exporter.backends.dialect import Dialect
from exporter.query.history import (
    DEFINITION_COLUMNS,
    TABLE_OF_TYPE,
    definitions_statement,
    few_definitions_statement,
    history_statement,
    of_series,
    point_columns,
    types_statement,
)
from exporter.query.history_rows import history_rows
from exporter.query.recent import MANY_SERIES, NewestChunk, read_windows
from exporter.query.selection import TimeRange, among
from exporter.query.sql import Sql

__all__ = ["NewestPoints"]

_Rows = list[tuple[Any, ...]]

# Of more, the chunk has to be unpacked anyway.
_FEW_POINTS: Final = 100_000
# Named in a window, rows are read backwards until there are enough: of 200 series out of 1,000 with
# a point each 8.6 s it took 8 ms, and 28 as a join, which is a sort of the window. In columns each
# name is looked for in each batch: 74 and 92 ms, but of 1,000 series 157 and 95.
_NAMED_SERIES: Final = 300
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
        many = definitions is None or len(definitions) > MANY_SERIES
        of_window = series
        if condition is not None and (definitions is None or len(definitions) > _NAMED_SERIES):
            of_window = of_series(condition)
        points = self._points(tables, (series, of_window), time_range, most, may_have_windows=many)
        if definitions is None:
            series_ids = dict.fromkeys(point[1] for point in points)
            definitions = self._fetch(definitions_statement(series_ids, self._dialect))
        return history_rows(points, point_columns(tables), definitions)

    def _tables_of(self, condition: Sql | None) -> tuple[list[str], Sql | None, _Rows | None]:
        """Tables with points of some series, what picks those, and the definitions if few."""
        if condition is not None and self._dialect.series_among is not None:
            few = self._fetch(few_definitions_statement(condition))
            named = among([row[_ID_AT] for row in few], self._dialect)
            if named is not None:
                return sorted({TABLE_OF_TYPE[row[_TYPE_AT]] for row in few}), named, few
        types = self._fetch(types_statement(condition))
        tables = sorted({TABLE_OF_TYPE[metric_type] for (metric_type,) in types})
        return tables, None if condition is None else of_series(condition), None

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
            picks: the conditions on points for a long range, and for a window.
            time_range: which.
            most: how many.
            may_have_windows: whether they are of so many series that it may pay.
        """

        def ask(series: Sql | None, part: TimeRange, limit: int) -> _Rows:
            return self._fetch(history_statement(tables, series, part, limit, self._dialect))

        may_pay = may_have_windows and self._dialect.may_have_rollups and most <= _FEW_POINTS
        if may_pay and "system_metrics" in tables:
            stretch = self._newest_chunk.stretch(time_range)
            if stretch is not None:
                of_all, of_window = (partial(ask, series) for series in picks)
                return read_windows(of_window, of_all, time_range, stretch, most)
        return ask(picks[0], time_range, most)
