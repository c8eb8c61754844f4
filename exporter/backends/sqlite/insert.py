"""Inserts many rows with few statements.

`executemany` steps once a row, and sqlite3 lets go of the interpreter lock for each step: while
another thread decodes, the writer may wait a whole switch interval (5 ms) for every single row.
One statement of many rows is one step. Measured against executemany (docs/decisions/0002):
1.7-1.9 times the rows/s alone, and 17-90 times in the slowest runs beside a busy thread.
"""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import Final, Literal

from exporter.backends.sqlite.rows import Rows, Table

__all__ = ["insert_rows", "statement_rows"]

_MOST_ROWS: Final = 4096
_MOST_PADDING: Final = 4  # at most a quarter of the rows left

_Conflict = Literal["keep", "replace"]


def insert_rows(connection: sqlite3.Connection, rows: Rows) -> int:
    """Insert rows inside the caller's transaction; of equal keys the table says which one stays.

    Returns:
        How many rows the table has more than before.
    """
    table, width, added = rows.table, len(rows.table.columns), 0
    most = _most_rows(connection, width)
    begin, left = 0, len(rows)
    while left > 0:
        size = statement_rows(left, most)
        chunk = rows.values[begin * width : (begin + size) * width]
        chunk += rows.values[-width:] * (size - left)  # padding: the last row again
        new = connection.execute(_insert(table, size, "keep"), chunk).rowcount
        if table.replaces and new < min(size, left):
            # Rare, and the only way to a count: a replacing insert does not say what was new.
            connection.execute(_insert(table, size, "replace"), chunk)
        added += new
        begin += size
        left -= size
    return added


def statement_rows(left: int, most: int) -> int:
    """How many rows the next statement takes: a power of two, a little more than is left at most.

    Compiling a statement costs twice as much as running it, so there must be few different ones,
    which the connection then keeps. Repeating a row does no harm where equal keys replace.
    """
    above = 1 << (left - 1).bit_length()
    if above <= most and above - left <= left // _MOST_PADDING:
        return above
    return min(1 << (left.bit_length() - 1), most)


def _most_rows(connection: sqlite3.Connection, width: int) -> int:
    variables = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
    return min(_MOST_ROWS, 1 << ((variables // width).bit_length() - 1))


@lru_cache(maxsize=256)
def _insert(table: Table, rows: int, conflict: _Conflict) -> str:
    verb = "INSERT OR REPLACE" if conflict == "replace" else "INSERT"
    row = f"({', '.join('?' * len(table.columns))})"
    # Names come from sqlite_rows and are never data.
    insert = f"{verb} INTO {table.name} ({', '.join(table.columns)}) VALUES "
    return insert + ",".join([row] * rows) + (" ON CONFLICT DO NOTHING" * (conflict == "keep"))
