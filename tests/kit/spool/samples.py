"""Entries whose whole content follows from their sequence, so that any of them can be checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from exporter.spool import Entry, Spool, compress

__all__ = ["SECOND", "START", "digest_of", "entry", "group", "read_all", "spool_at"]

SECOND: Final = 1_000_000_000
START: Final = 1_700_000_000 * SECOND


def entry(sequence: int, size_bytes: int | None = None) -> Entry:
    """The entry as `read` returns it; received a second after the one before."""
    random = Random(sequence)
    if size_bytes is None:
        size_bytes = random.choice((0, 1, 100, 5_000, 30_000))
    data = random.randbytes(size_bytes)
    return Entry(
        sequence=sequence,
        received_unix_nano=START + sequence * SECOND,
        earliest_unix_nano=-(2**63) + sequence,
        latest_unix_nano=2**63 - 1 - sequence,
        entries=sequence % 7,
        digest=digest_of(sequence),
        data=data,
    )


def digest_of(sequence: int) -> bytes:
    return hashlib.blake2b(str(sequence).encode(), digest_size=16).digest()


def group(sequences: Iterable[int], size_bytes: int | None = None) -> list[Entry]:
    """Entries as `append` takes them."""
    found = [entry(sequence, size_bytes) for sequence in sequences]
    return [replace(one, data=compress(one.data)) for one in found]


def spool_at(
    path: Path, *, max_bytes: int = 2**30, window: float = 100.0, max_digests: int = 200_000
) -> Spool:
    """A spool that is not started."""
    return Spool(path, max_bytes=max_bytes, retry_window_seconds=window, max_digests=max_digests)


def read_all(spool: Spool, after: int = 0) -> list[Entry]:
    """Everything that waits, in pieces of about 100 KB."""
    found: list[Entry] = []
    while piece := spool.read(after, 100_000):
        found += piece
        after = piece[-1].sequence
    return found
