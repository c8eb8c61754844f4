"""Registers series definitions in SQLite, and finds ids that two different series share."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Final

from exporter.backends.series_definitions import identity_of, latest_by_id, refuse_collision
from exporter.backends.sqlite.insert import insert_rows
from exporter.backends.sqlite.rows import Rows, Table, flattened
from exporter.backends.statements import load_statements
from exporter.model import Series

__all__ = ["register_series"]

_COLUMNS: Final = tuple(field.name for field in fields(Series))
_INCOMING: Final = Table("incoming_series", _COLUMNS, key=("series_id",))
_values: Final = attrgetter(*_COLUMNS)
# The values of all rows of a step are one list, 15 values a row: 100,000 series in one step would
# take 20 MiB.
_ROWS_PER_STEP: Final = 4_096


def register_series(
    connection: sqlite3.Connection, definitions: Iterable[Series], refused: set[int]
) -> int:
    """Store definitions inside the caller's transaction.

    A stored definition stays; its description and schema URLs take the newer text.

    Args:
        connection: where a transaction is open.
        definitions: an id may occur several times; the last description wins.
        refused: ids that two different series share; collisions found now are added, and logged.

    Returns:
        How many series are new.
    """
    latest = latest_by_id(definitions, refused)
    if not latest:
        return 0
    sql = load_statements("sqlite/series.sql")
    connection.execute(sql["create_incoming"])
    connection.execute(sql["clear_incoming"])
    remaining = map(_values, latest.values())
    while step := list(islice(remaining, _ROWS_PER_STEP)):
        insert_rows(connection, Rows(_INCOMING, flattened(step)))
    for series_id, *stored in connection.execute(sql["collisions"]).fetchall():
        refuse_collision(series_id, stored, identity_of(latest[series_id]), refused)
        connection.execute(sql["drop_collision"], (series_id,))
    (new,) = connection.execute(sql["count_new"]).fetchone()
    connection.execute(sql["store"])
    return int(new)
