"""Entries whose content is computed from their sequence, so every entry can be checked."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from exporter.spool import Entry, Spool, compress
from exporter.time_units import NANOSECONDS_PER_SECOND

START_UNIX_NANO: Final = 1_700_000_000 * NANOSECONDS_PER_SECOND
_RETRY_WINDOW_SECONDS: Final = 100
RETRY_WINDOW_NANO: Final = _RETRY_WINDOW_SECONDS * NANOSECONDS_PER_SECOND


def entry(sequence: int, size_bytes: int | None = None) -> Entry:
    """The entry as `read` returns it; received a second after the one before."""
    random = Random(sequence)
    if size_bytes is None:
        size_bytes = random.choice((0, 1, 100, 5_000, 30_000))
    data = random.randbytes(size_bytes)
    return Entry(
        sequence=sequence,
        received_unix_nano=START_UNIX_NANO + sequence * NANOSECONDS_PER_SECOND,
        earliest_unix_nano=-(2**63) + sequence,
        latest_unix_nano=2**63 - 1 - sequence,
        entries=sequence % 7,
        digest=digest_of(sequence),
        data=data,
    )


def digest_of(sequence: int) -> bytes:
    return hashlib.blake2b(str(sequence).encode(), digest_size=16).digest()


def compressed(one: Entry) -> Entry:
    """The entry as `append` takes it."""
    return replace(one, data=compress(one.data))


def group(sequences: Iterable[int], size_bytes: int | None = None) -> list[Entry]:
    """Entries as `append` takes them."""
    return [compressed(entry(sequence, size_bytes)) for sequence in sequences]


def spool_at(
    path: Path,
    *,
    max_bytes: int = 2**30,
    retry_window_seconds: float = _RETRY_WINDOW_SECONDS,
    max_digests: int = 200_000,
) -> Spool:
    """A spool that is not started."""
    return Spool(
        path,
        max_bytes=max_bytes,
        retry_window_seconds=retry_window_seconds,
        max_digests=max_digests,
    )


@contextmanager
def open_spool(
    path: Path, *, max_bytes: int = 2**30, max_digests: int = 200_000
) -> Iterator[Spool]:
    """A started spool, closed at the end of the block."""
    with closing(spool_at(path, max_bytes=max_bytes, max_digests=max_digests)) as spool:
        spool.start()
        yield spool


def read_all(spool: Spool, after: int = 0) -> list[Entry]:
    """Every pending entry, read in pieces of about 100 KB."""
    found: list[Entry] = []
    while piece := spool.read(after, 100_000):
        found += piece
        after = piece[-1].sequence
    return found


def read_sequences(spool: Spool) -> list[int]:
    """The sequence of every pending entry."""
    return [one.sequence for one in read_all(spool)]


def execute(path: Path, statement: str, *parameters: object) -> list[tuple[int, ...]]:
    """Change or read the file as another program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, parameters).fetchall()


def is_known(spool: Spool, *sequences: int) -> list[bool]:
    """For each sequence, whether the digest of its entry is known."""
    return [digest_of(sequence) in spool.state.digests for sequence in sequences]
