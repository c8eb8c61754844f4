"""How far each series that carries cost has come, read in pages.

Without it a receiver that goes on at the target would count a total from the start again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from exporter.backends.base import Backend
from exporter.backends.dialect import Dialect
from exporter.model import CostCursor
from exporter.query.filters import TimeRange
from exporter.query.sql import Sql, fetch_all, sql
from exporter.transfer.pages import named_ids

__all__ = ["CURSORS", "cursor_pages", "cursors_of"]

CURSORS: Final = "cost_cursors"
"""Their table."""

_SMALLEST_ID: Final = -(2**63)

# Of a series that went on after the end of the period: as it was then, by the last entry before.
_LATEST: Final = """
    SELECT c.series_id, {first}, {time}, {start}, m.value
    FROM cost_cursors AS c JOIN cost_entries AS m ON m.series_id = c.series_id
    AND m.timestamp = (
        SELECT max(e.timestamp) FROM cost_entries AS e
        WHERE e.series_id = c.series_id AND e.timestamp < {end})
    WHERE c.series_id >= {least} AND c.last_timestamp >= {end}"""
_STORED: Final = """
    SELECT c.series_id, {first}, {last}, {last_start}, c.last_value
    FROM cost_cursors AS c
    WHERE c.series_id >= {least} AND c.first_timestamp IS NOT NULL"""


def cursor_pages(
    backend: Backend, wanted: TimeRange, *, rows: int
) -> Iterator[tuple[CostCursor, ...]]:
    """All cursors, as they were at the end of a period, by series id.

    Args:
        backend: open, for reading at least.
        wanted: the period; its begin does not matter, because points after it are counted from
            what was before.
        rows: of a page.
    """
    least = _SMALLEST_ID
    while True:
        page = _read(backend, _statement(backend.dialect, wanted.end_micros, least, rows))
        if page:
            yield page
        if len(page) < rows or page[-1].series_id == 2**63 - 1:
            return
        least = page[-1].series_id + 1


def cursors_of(backend: Backend, series_ids: Sequence[int]) -> Iterator[CostCursor]:
    """The cursors of these series, as far as they have one, in no order."""
    stored = _stored(backend.dialect, _SMALLEST_ID)
    for chosen in named_ids(series_ids):
        statement = sql("{stored} AND c.series_id IN ({chosen})", stored=stored, chosen=chosen)
        yield from _read(backend, statement)


def _read(backend: Backend, statement: Sql) -> tuple[CostCursor, ...]:
    return tuple(
        CostCursor.from_micros(series_id, first, last, start, value)
        for series_id, first, last, start, value in fetch_all(backend, statement)
    )


def _stored(dialect: Dialect, least: int) -> Sql:
    return sql(
        _STORED,
        first=_micros(dialect, "c.first_timestamp"),
        last=_micros(dialect, "c.last_timestamp"),
        last_start=_micros(dialect, "c.last_start_timestamp"),
        least=least,
    )


def _statement(dialect: Dialect, end_micros: int | None, least: int, rows: int) -> Sql:
    stored = _stored(dialect, least)
    if end_micros is None:
        return sql("{stored} ORDER BY 1 LIMIT {rows}", stored=stored, rows=rows)
    end = dialect.moment(end_micros)
    latest = sql(
        _LATEST,
        first=_micros(dialect, "c.first_timestamp"),
        time=_micros(dialect, "m.timestamp"),
        start=_micros(dialect, "m.start_timestamp"),
        least=least,
        end=end,
    )
    return sql(
        "{stored} AND c.last_timestamp < {end} UNION ALL {latest} ORDER BY 1 LIMIT {rows}",
        stored=stored,
        latest=latest,
        end=end,
        rows=rows,
    )


def _micros(dialect: Dialect, column: str) -> Sql:
    return sql(dialect.micros, time=Sql((column,)))
