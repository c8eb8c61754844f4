"""From a file to what is kept in memory of it, and to a fresh file where it is damaged."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from exporter.spool.digests import Digests
from exporter.spool.errors import SpoolDamagedError
from exporter.spool.files import set_aside, set_wal_aside
from exporter.spool.salvage import Place, begin_anew
from exporter.spool.store import Store
from exporter.spool.waiting import Waiting

__all__ = ["Loaded", "open_or_replace", "replace"]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Loaded:
    """An open file and what is kept in memory of it.

    Attributes:
        store: the open file.
        waiting: counts of the requests in it.
        digests: of these requests and of those that were stored a short while ago.
        last_sequence: the largest sequence that the file knows of.
        files_set_aside: how many damaged files were renamed on the way.
    """

    store: Store
    waiting: Waiting
    digests: Digests
    last_sequence: int
    files_set_aside: int = 0


def open_or_replace(path: Path, max_digests: int) -> Loaded:
    """Open the file, or make it where there is none, or replace it where it is damaged.

    Raises:
        SpoolRefusedError: it is not ours, or cannot be used.
        SpoolUnavailableError: the disk is full or failed.
    """
    moved_wal = set_wal_aside(path)
    if moved_wal is not None:
        _log.error(
            "spool %s: its -wal is none and was moved to %s; requests that were in it are missing",
            path,
            moved_wal,
        )
    try:
        loaded = _load(Store.open(path), max_digests)
    except SpoolDamagedError as damage:
        loaded = replace(path, damage, max_digests)
    loaded.files_set_aside += moved_wal is not None
    return loaded


def replace(
    path: Path,
    damage: SpoolDamagedError,
    max_digests: int,
    place: Place | None = None,
) -> Loaded:
    """Rename the damaged file, which must be closed, and begin a fresh one with what it still has.

    Args:
        path: of the file.
        damage: what was found.
        max_digests: see `Digests`.
        place: what the file is called and how far it has come, where that is known without it.

    Raises:
        SpoolRefusedError, SpoolUnavailableError: the fresh file cannot be made.
    """
    aside = set_aside(path)
    _log.error("%s; the file was moved to %s and a fresh one is begun", damage, aside)
    loaded = _load(begin_anew(path, aside, place), max_digests)
    loaded.files_set_aside = 1
    _log.error(
        "spool %s: %d requests (%d data points) that wait were saved from %s",
        path,
        loaded.waiting.requests,
        loaded.waiting.entries,
        aside,
    )
    return loaded


def _load(store: Store, max_digests: int) -> Loaded:
    # Closes the store where that fails.
    loaded = Loaded(store, Waiting(), Digests(max_digests), store.released_sequence)
    try:
        _fill(loaded)
    except (TypeError, OverflowError) as error:
        store.close()
        raise SpoolDamagedError(f"spool: a value of a wrong type: {error}") from error
    except BaseException:
        store.close()
        raise
    return loaded


def _fill(loaded: Loaded) -> None:
    for sequence, received_unix_nano, digest in loaded.store.digests():
        loaded.digests.add(sequence, received_unix_nano, digest)
    for sequence, received_unix_nano, entries, data_bytes, digest in loaded.store.waiting():
        loaded.waiting.add(sequence, received_unix_nano, entries, data_bytes)
        loaded.digests.add(sequence, received_unix_nano, digest)
        loaded.last_sequence = sequence
