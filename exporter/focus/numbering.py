"""Ids for rows that have none: the same row is the same entry, however often it is imported.

A bill may hold a row twice and mean both, so a row's number among those that are equal to it is
part of its id. How often each row was there is counted in a temporary file of SQLite's, because
bills have more rows than memory has room for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from types import TracebackType
from typing import Any, Final, Self

import xxhash

from exporter.focus.cells import canonical, text_of

__all__ = ["RowIdGenerator"]

_COUNT: Final = """
    INSERT INTO rows (digest) VALUES (?)
    ON CONFLICT (digest) DO UPDATE SET seen = seen + 1
    RETURNING seen
"""


class RowIdGenerator:
    """Gives ids to the rows of one bill, in their order; use it in a `with` statement."""

    def __enter__(self) -> Self:
        self._counts = closing(sqlite3.connect("", isolation_level=None))
        connection = self._counts.__enter__()
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(
            "CREATE TABLE rows (digest BLOB PRIMARY KEY, seen INTEGER DEFAULT 1) WITHOUT ROWID"
        )
        connection.execute("BEGIN")
        self._connection = connection
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._counts.__exit__(kind, error, traceback)

    def id_of(self, row: Mapping[str, Any]) -> str:
        """The id of the next row.

        Args:
            row: its cells by name. Their order, and cells with nothing in them, say nothing.
        """
        cells = {name: text for name, value in row.items() if (text := text_of(value)) is not None}
        digest = xxhash.xxh3_128(canonical(cells).encode("utf-8", "surrogatepass")).digest()
        ((seen,),) = self._connection.execute(_COUNT, (digest,)).fetchall()
        return f"focus-{digest.hex()}" if seen == 1 else f"focus-{digest.hex()}-{seen}"
