"""Registers series definitions in PostgreSQL, and finds ids that two different series share."""

# ruff: noqa: S608 - the names of columns are written here and nowhere else

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any, Final

from psycopg2.extras import execute_values

from exporter.backends.postgresql.connection import Cursor
from exporter.backends.postgresql.text_values import TextSanitizer
from exporter.backends.series_definitions import (
    IDENTITY,
    identity_of,
    latest_by_id,
    refuse_collision,
)
from exporter.model import Series

__all__ = ["register_series"]

_COLUMNS: Final = tuple(field.name for field in fields(Series))
_values: Final = attrgetter(*_COLUMNS)
_DESCRIBING: Final = ("description", "resource_schema_url", "scope_schema_url")
_JSON: Final = ("resource", "scope", "attributes")
_PAGE_ROWS: Final = 1_000


def _row_of(source: str, columns: Sequence[str]) -> str:
    return "(" + ", ".join(f"{source}.{column}" for column in columns) + ")"


# A row that is there is locked, and so waited for while another receiver has it uncommitted. The
# WHERE keeps what is unchanged, or belongs to another series, from being written.
_INSERT: Final = f"""
    INSERT INTO metric_series AS known ({", ".join(_COLUMNS)}) VALUES %s
    ON CONFLICT (series_id) DO UPDATE
    SET ({", ".join(_DESCRIBING)}) = ROW {_row_of("excluded", _DESCRIBING)}
    WHERE {_row_of("known", _DESCRIBING)} IS DISTINCT FROM {_row_of("excluded", _DESCRIBING)}
        AND {_row_of("known", IDENTITY)} IS NOT DISTINCT FROM {_row_of("excluded", IDENTITY)}"""
# In a bare VALUES list a NULL would be text, so every column says its type.
_TYPES: Final = {"series_id": "bigint", "is_monotonic": "boolean", **dict.fromkeys(_JSON, "jsonb")}
# CAST and not `::`, which binds tighter than the sign of the smallest bigint.
_CASTS: Final = (f"CAST(%s AS {_TYPES.get(column, 'text')})" for column in _COLUMNS)
_TYPED: Final = f"({', '.join(_CASTS)})"
_COLLISIONS: Final = f"""
    SELECT known.series_id, {_row_of("known", IDENTITY)[1:-1]}
    FROM metric_series AS known
    JOIN (VALUES %s) AS came ({", ".join(_COLUMNS)}) USING (series_id)
    WHERE {_row_of("known", IDENTITY)} IS DISTINCT FROM {_row_of("came", IDENTITY)}"""


def register_series(
    cursor: Cursor, definitions: Iterable[Series], refused: set[int], sanitizer: TextSanitizer
) -> None:
    """Store definitions inside the caller's transaction.

    A known one is kept, with the newer description and schema URLs. Sorted by id, so that two
    receivers that register the same series lock rows in one order and cannot deadlock. Collisions
    are looked for afterwards: only then is a definition there that another receiver was about to
    commit.

    Args:
        cursor: of a connection with a transaction open.
        definitions: one id may come several times; the newest description wins.
        refused: ids that two different series share; those found now are added, and logged.
        sanitizer: cleans what is stored.
    """
    latest = latest_by_id(definitions, refused)
    rows = [_row(latest[series_id], sanitizer) for series_id in sorted(latest)]
    if not rows:
        return
    execute_values(cursor, _INSERT, rows, _TYPED, _PAGE_ROWS)
    found = execute_values(cursor, _COLLISIONS, rows, _TYPED, _PAGE_ROWS, fetch=True)
    for series_id, *stored in found:
        refuse_collision(series_id, stored, identity_of(latest[series_id]), refused)


def _row(series: Series, sanitizer: TextSanitizer) -> tuple[Any, ...]:
    return tuple(map(partial(_cleaned, sanitizer), _COLUMNS, _values(series)))


def _cleaned(sanitizer: TextSanitizer, column: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    return sanitizer.json(value) if column in _JSON else sanitizer.text(value)
