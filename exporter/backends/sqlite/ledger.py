"""The watermarks of writers in SQLite: which batch of each was the last to be stored."""

from __future__ import annotations

import sqlite3
from typing import Final

from exporter.backends.statements import load_statements
from exporter.model import Watermark

__all__ = ["advance", "last_sequence", "prune_watermarks"]

_FILE: Final = "sqlite/ledger.sql"


def advance(connection: sqlite3.Connection, watermark: Watermark | None) -> bool:
    """Note a watermark inside the caller's transaction; whether its batch is yet to be stored.

    Args:
        connection: where a transaction is open.
        watermark: of the batch; one without a watermark is always yet to be stored.
    """
    if watermark is None:
        return True
    sql = load_statements(_FILE)["advance"]
    return connection.execute(sql, (watermark.writer_id, watermark.sequence)).rowcount > 0


def last_sequence(connection: sqlite3.Connection, writer_id: str) -> int:
    """How far the writer has come; 0 if nothing of it is known."""
    found = connection.execute(load_statements(_FILE)["last_sequence"], (writer_id,)).fetchone()
    return 0 if found is None else int(found[0])


def prune_watermarks(connection: sqlite3.Connection, before: int) -> None:
    """Delete watermarks that were last advanced earlier; microseconds since 1970."""
    connection.execute(load_statements(_FILE)["forget"], (before,))
