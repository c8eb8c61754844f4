"""The watermarks of writers and the dead letters in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from exporter.backends.base import WATERMARK_RETENTION_NANOSECONDS
from exporter.backends.dead_letters import encode_dead_letter
from exporter.backends.statements import load_statements
from exporter.model import DeadLetter, Watermark
from exporter.time_units import nanos_to_micros

_LEDGER: Final = "sqlite/ledger.sql"
_DEAD_LETTERS: Final = "sqlite/dead_letters.sql"


def advance_watermark(connection: sqlite3.Connection, watermark: Watermark | None) -> bool:
    """Record the watermark of a batch inside the caller's transaction.

    Returns:
        Whether the batch is not stored yet; always True without a watermark.
    """
    if watermark is None:
        return True
    sql = load_statements(_LEDGER)["advance"]
    return connection.execute(sql, (watermark.writer_id, watermark.sequence)).rowcount > 0


def last_sequence(connection: sqlite3.Connection, writer_id: str) -> int:
    """The sequence of the writer's watermark; 0 without a watermark."""
    found = connection.execute(load_statements(_LEDGER)["last_sequence"], (writer_id,)).fetchone()
    return 0 if found is None else int(found[0])


def insert_dead_letters(connection: sqlite3.Connection, dead: Sequence[DeadLetter]) -> None:
    """Store dead letters inside the caller's transaction, after the series of their batch."""
    if not dead:
        return
    sql = load_statements(_DEAD_LETTERS)
    (written_at,) = connection.execute(sql["now"]).fetchone()
    rows = (
        encode_dead_letter(one, nanos_to_micros, str) | {"written_at": written_at} for one in dead
    )
    connection.executemany(sql["insert"], rows)


def keep_newest_dead_letters(connection: sqlite3.Connection, count: int) -> int:
    """Delete all dead letters but the newest; returns how many were deleted."""
    return connection.execute(load_statements(_DEAD_LETTERS)["keep_newest"], (count,)).rowcount


def prune_bookkeeping(connection: sqlite3.Connection, timestamp: int) -> int:
    """Delete old dead letters, and watermarks that nobody has advanced for a year before that.

    Args:
        connection: where a transaction is open.
        timestamp: microseconds since 1970; dead letters that were written earlier are deleted.

    Returns:
        How many dead letters were deleted; watermarks are not counted.
    """
    oldest_watermark = timestamp - nanos_to_micros(WATERMARK_RETENTION_NANOSECONDS)
    connection.execute(load_statements(_LEDGER)["prune"], (oldest_watermark,))
    return connection.execute(load_statements(_DEAD_LETTERS)["prune"], (timestamp,)).rowcount
