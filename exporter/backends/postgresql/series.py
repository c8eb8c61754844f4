"""Registers series definitions in PostgreSQL, and finds ids that two different series share."""

# ruff: noqa: S608 - statements contain only names of columns

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final

from psycopg2.extras import execute_values

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.sql_fragments import column_list, typed_row
from exporter.backends.postgresql.text_format import TextSanitizer
from exporter.backends.series_collisions import (
    IDENTITY,
    identity_of,
    latest_by_id,
    record_collision,
)
from exporter.model import Series
from exporter.tables import SERIES

_values: Final = attrgetter(*SERIES.names)
_DESCRIPTION: Final = ("description", "resource_schema_url", "scope_schema_url")
_PAGE_ROWS: Final = 1_000


def _row_of(source: str, columns: Sequence[str]) -> str:
    return "(" + ", ".join(f"{source}.{column}" for column in columns) + ")"


# ON CONFLICT locks an existing row, so it waits for a receiver that has not committed it yet. The
# WHERE excludes rows that would not change, and rows of another series with the same id.
_INSERT: Final = f"""
    INSERT INTO metric_series AS known ({column_list(SERIES)}) VALUES %s
    ON CONFLICT (series_id) DO UPDATE
    SET ({", ".join(_DESCRIPTION)}) = ROW {_row_of("excluded", _DESCRIPTION)}
    WHERE {_row_of("known", _DESCRIPTION)} IS DISTINCT FROM {_row_of("excluded", _DESCRIPTION)}
        AND {_row_of("known", IDENTITY)} IS NOT DISTINCT FROM {_row_of("excluded", IDENTITY)}"""
_COLLISIONS: Final = f"""
    SELECT known.series_id, {_row_of("known", IDENTITY)[1:-1]}
    FROM metric_series AS known
    JOIN (VALUES %s) AS received ({column_list(SERIES)}) USING (series_id)
    WHERE {_row_of("known", IDENTITY)} IS DISTINCT FROM {_row_of("received", IDENTITY)}"""
_ROW: Final = typed_row(SERIES)


def register_series(
    cursor: Cursor, definitions: Iterable[Series], refused: set[int], sanitizer: TextSanitizer
) -> None:
    """Store definitions inside the caller's transaction.

    A stored definition is kept, with the newer description and schema URLs.

    Args:
        cursor: of a connection with a transaction open.
        definitions: an id may occur several times; the newest description wins.
        refused: ids that two different series share; those found now are added, and logged.
        sanitizer: cleans the texts.
    """
    latest = latest_by_id(definitions, refused)
    # Sorted, so that receivers with the same series lock rows in one order and cannot deadlock.
    rows = [tuple(_row(latest[series_id], sanitizer)) for series_id in sorted(latest)]
    if not rows:
        return
    execute_values(cursor, _INSERT, rows, _ROW, _PAGE_ROWS)
    # After the INSERT, which has waited for definitions that other receivers were committing.
    found = execute_values(cursor, _COLLISIONS, rows, _ROW, _PAGE_ROWS, fetch=True)
    for series_id, *stored in found:
        record_collision(series_id, stored, identity_of(latest[series_id]), refused)


def _row(series: Series, sanitizer: TextSanitizer) -> Iterator[object]:
    for column, value in zip(SERIES.columns, _values(series), strict=True):
        if not isinstance(value, str):
            yield value
        elif column.kind == "json":
            yield sanitizer.json(value)
        else:
            yield sanitizer.text(value)
