"""A fresh file in the place of a damaged one, with what can still be read of it.

Each request is read by its key and proven by its checksum, so damage costs the requests that it
has hit and no others. Without the file's name and watermark nothing is taken: under another name
the database could not tell which of them it has stored, and would store those twice.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from exporter.spool.entry import Entry
from exporter.spool.errors import SpoolDamagedError, SpoolUnavailableError, opening
from exporter.spool.layout import columns_of, connect_untouched
from exporter.spool.store import Store, entry_of, name_and_watermarks

__all__ = ["Place", "begin_anew"]

_log = logging.getLogger(__name__)

_GROUP_REQUESTS: Final = 64
_NO_END: Final = 2**63 - 1
_NEEDED: Final = "sequence > ? AND sequence <= ?"


class Place(NamedTuple):
    """Whose file it is, and how far it has come.

    Attributes:
        receiver_id: the name in the database's ledger.
        released_sequence: up to it nothing is needed any more.
        last_sequence: after it nothing was acknowledged: a group whose sync failed may be there
            all the same, and its senders have been told to send it again.
        unasked_after: after it requests came while the ledger could not be asked; else None.
    """

    receiver_id: str
    released_sequence: int
    last_sequence: int
    unasked_after: int | None


def begin_anew(path: Path, aside: Path, place: Place | None = None) -> Store:
    """Make a fresh file and copy into it what can be read of the one that was set aside.

    Args:
        path: of the fresh file.
        aside: of the damaged one, which is only read.
        place: where it is known without the file.

    Raises:
        SpoolRefusedError, SpoolUnavailableError: the fresh file cannot be made.
    """
    with opening(aside):
        old = connect_untouched(aside)
    with closing(old):
        try:
            place = place or _place_of(old, aside)
        except (sqlite3.Error, SpoolDamagedError) as error:
            _log.error("spool %s: nothing can be copied from %s: %s", path, aside, error)
            return Store.open(path)
        fresh = Store.open(path, place.receiver_id)
        try:
            _copy(old, fresh, place)
        except SpoolUnavailableError as error:
            _log.error("spool %s: the rest stays in %s: %s", path, aside, error)
    return fresh


def _place_of(old: sqlite3.Connection, aside: Path) -> Place:
    receiver_id, released_sequence, unasked_after = name_and_watermarks(old, aside)
    return Place(receiver_id, released_sequence, _NO_END, unasked_after)


def _copy(old: sqlite3.Connection, fresh: Store, place: Place) -> None:
    fresh.discard(place.released_sequence, 0)
    if place.unasked_after is not None:
        fresh.note_unasked(place.unasked_after)
    fresh.remember(_digests(old, place))
    entries = _entries(old, _sequences(old, place))
    while group := list(islice(entries, _GROUP_REQUESTS)):
        fresh.append(group, place.released_sequence, 0)


def _sequences(old: sqlite3.Connection, place: Place) -> list[int]:
    # From the front up to the damage, then from the back.
    found: set[int] = set()
    for order in ("ASC", "DESC"):
        try:
            for (sequence,) in old.execute(
                f"SELECT sequence FROM requests WHERE {_NEEDED} ORDER BY sequence {order}",  # noqa: S608 - constants
                (place.released_sequence, place.last_sequence),
            ):
                found.add(sequence)
        except sqlite3.DatabaseError:
            continue
        break  # without damage the front has them all
    return sorted(found)


def _entries(old: sqlite3.Connection, sequences: list[int]) -> Iterator[Entry]:
    columns = columns_of(old)
    for sequence in sequences:
        # What is damaged is left where it is; the caller reports how much is missing.
        with suppress(sqlite3.DatabaseError, TypeError, ValueError):
            row = old.execute(
                f"SELECT {columns} FROM requests WHERE sequence = ?",  # noqa: S608 - constants
                (sequence,),
            ).fetchone()
            entry_of(row)  # proves it; what is copied stays compressed
            yield Entry(*row)


def _digests(old: sqlite3.Connection, place: Place) -> Iterator[tuple[int, int, bytes]]:
    with suppress(sqlite3.DatabaseError):  # those before the damage are better than none
        for sequence, received_unix_nano, digest in old.execute(
            "SELECT sequence, received_unix_nano, digest FROM digests "
            "WHERE sequence <= ? ORDER BY sequence",
            (place.released_sequence,),
        ):
            if isinstance(received_unix_nano, int) and isinstance(digest, bytes):
                yield sequence, received_unix_nano, digest
