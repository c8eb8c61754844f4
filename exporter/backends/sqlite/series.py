"""Registers series definitions in SQLite, and finds ids that two different series share."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Final

from exporter.backends.sqlite.insert import insert_rows
from exporter.backends.sqlite.rows import Rows, Table
from exporter.backends.statements import load_statements
from exporter.model import Series

__all__ = ["register_series"]

_log = logging.getLogger(__name__)

_COLUMNS: Final = tuple(field.name for field in fields(Series))
_INCOMING: Final = Table("incoming_series", _COLUMNS, key=("series_id",))
_values: Final = attrgetter(*_COLUMNS)
# In the order of the statement `collisions`.
_IDENTITY: Final = (
    "metric_name",
    "metric_type",
    "unit",
    "temporality",
    "is_monotonic",
    "resource",
    "scope",
    "attributes",
)
_identity: Final = attrgetter(*_IDENTITY)
_SHOWN_CHARACTERS: Final = 200
# Flattened at once: fifteen values each, so that a hundred thousand would take 20 MiB.
_ROWS_A_STEP: Final = 4_096


def register_series(
    connection: sqlite3.Connection, definitions: Iterable[Series], refused: set[int]
) -> int:
    """Store definitions inside the caller's transaction.

    A known one is kept, with the newer description and schema URLs.

    Args:
        connection: where a transaction is open.
        definitions: one id may come several times; the newest description wins.
        refused: ids that two different series share; those found now are added, and logged.

    Returns:
        How many series are new.
    """
    latest = _one_of_each(definitions, refused)
    if not latest:
        return 0
    sql = load_statements("sqlite/series.sql")
    connection.execute(sql["create_incoming"])
    connection.execute(sql["clear_incoming"])
    definitions = iter(latest.values())
    while step := list(islice(definitions, _ROWS_A_STEP)):
        values = [value for series in step for value in _values(series)]
        insert_rows(connection, Rows(_INCOMING, values))
    for series_id, *kept in connection.execute(sql["collisions"]).fetchall():
        _refuse(series_id, kept, _identity(latest[series_id]), refused)
        connection.execute(sql["drop_collision"], (series_id,))
    (new,) = connection.execute(sql["count_new"]).fetchone()
    connection.execute(sql["keep"])
    return int(new)


def _one_of_each(definitions: Iterable[Series], refused: set[int]) -> dict[int, Series]:
    latest: dict[int, Series] = {}
    for series in definitions:
        first = latest.get(series.series_id)
        if first is not None and _identity(first) != _identity(series):
            _refuse(series.series_id, _identity(first), _identity(series), refused)
        elif series.series_id not in refused:
            latest[series.series_id] = series
    return latest


def _refuse(
    series_id: int, kept: Sequence[object], other: Sequence[object], refused: set[int]
) -> None:
    if series_id in refused:
        return
    refused.add(series_id)
    _log.error(
        "series id %d stands for metric %r and came for metric %r too (a hash collision); points "
        "with this id cannot be told apart and are refused until the next start; %s",
        series_id,
        kept[0],
        other[0],
        "; ".join(
            f"{name} {_shown(mine)} against {_shown(theirs)}"
            for name, mine, theirs in zip(_IDENTITY, kept, other, strict=True)
            if mine != theirs
        ),
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
