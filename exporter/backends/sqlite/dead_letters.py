"""Dead letters in SQLite: rows that were refused, kept apart with the reason."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from exporter.backends.statements import load_statements
from exporter.model import DeadLetter

__all__ = [
    "DEAD_LETTERS",
    "delete_dead_letters_before",
    "insert_dead_letters",
    "keep_newest_dead_letters",
]

DEAD_LETTERS: Final = "dead_letters"
_FILE: Final = "sqlite/dead_letters.sql"
_NANOSECONDS_PER_MICROSECOND: Final = 1_000


def insert_dead_letters(connection: sqlite3.Connection, letters: Sequence[DeadLetter]) -> None:
    """Store letters inside the caller's transaction, after the series of the same batch."""
    if not letters:
        return
    sql = load_statements(_FILE)
    (written_at,) = connection.execute(sql["now"]).fetchone()
    connection.executemany(sql["insert"], (_row(letter, written_at) for letter in letters))


def keep_newest_dead_letters(connection: sqlite3.Connection, most: int) -> int:
    """Delete all letters but the last ones; returns how many went."""
    return connection.execute(load_statements(_FILE)["keep_newest"], (most,)).rowcount


def delete_dead_letters_before(connection: sqlite3.Connection, timestamp: int) -> int:
    """Delete letters that were written earlier, in microseconds since 1970; how many went."""
    return connection.execute(load_statements(_FILE)["delete_before"], (timestamp,)).rowcount


def _row(letter: DeadLetter, written_at: int) -> dict[str, object]:
    time_unix_nano = letter.time_unix_nano
    return {
        "written_at": written_at,
        "kind": letter.kind,
        "reason": letter.reason,
        "series_id": letter.series_id,
        "metric_name": letter.metric_name,
        "timestamp": (
            None if time_unix_nano is None else time_unix_nano // _NANOSECONDS_PER_MICROSECOND
        ),
        "content": letter.content,
    }
