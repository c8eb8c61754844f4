"""The backends that the contract suite runs over. A new one is a new entry in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final

from exporter.backends import open_backend
from exporter.backends.base import Backend

__all__ = ["KINDS", "Kind", "NewStore"]

NewStore = Callable[[], AbstractContextManager[Backend]]

_PLENTY: Final = 1_000_000
_MICROSECOND: Final = 1_000
_DAY: Final = 86_400_000_000_000


@dataclass(frozen=True)
class Kind:
    """How to make a backend for a place of its own, and what it can do.

    Attributes:
        make: a backend, not started; the same place means the same data.
        server: the fixture whose databases are the places, as connection strings; None where a
            place is a folder.
        keeps: whether data outlives `close`.
        replaces: whether a point takes the place of one of the same series and microsecond; else
            both are there.
        keeps_nul: whether text may have a NUL; else U+FFFD stands for it.
        deletes_by: nanoseconds; rows go together with those of the same multiple of it.
        interrupts: whether a statement that runs can be ended from outside; the tests' TimescaleDB
            cannot (tests/engines/README.md).
    """

    make: Callable[[str], Backend]
    server: str | None = None
    keeps: bool = True
    replaces: bool = True
    keeps_nul: bool = True
    deletes_by: int = _MICROSECOND
    interrupts: bool = True


KINDS: Final = {
    "memory": Kind(lambda _: open_backend("memory", None, max_memory_entries=_PLENTY), keeps=False),
    "sqlite": Kind(
        lambda folder: open_backend(
            "sqlite", f"sqlite:///{folder}/store.db", max_memory_entries=_PLENTY
        )
    ),
    "postgresql": Kind(
        lambda dsn: open_backend("postgresql", dsn, max_memory_entries=_PLENTY),
        server="postgresql_server",
        replaces=False,
        keeps_nul=False,
        deletes_by=_DAY,
    ),
    "timescaledb": Kind(
        lambda dsn: open_backend("timescaledb", dsn, max_memory_entries=_PLENTY),
        server="timescaledb_server",
        replaces=False,
        keeps_nul=False,
        deletes_by=_DAY,
        interrupts=False,
    ),
}
