"""The backends that the contract suite runs over. A new one is a new entry in `KINDS`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Final

import psycopg2

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
        change: runs SQL of a user's own on a place; None where nobody else can reach it.
        refuse_thirteen: such SQL, after which a point with the value 13 is refused, by each means
            that the database has.
    """

    make: Callable[[str], Backend]
    server: str | None = None
    keeps: bool = True
    replaces: bool = True
    keeps_nul: bool = True
    deletes_by: int = _MICROSECOND
    interrupts: bool = True
    change: Callable[[str, str], None] | None = None
    refuse_thirteen: tuple[str, ...] = ()


def _change_sqlite(folder: str, statement: str) -> None:
    with closing(sqlite3.connect(f"{folder}/store.db")) as connection, connection:
        connection.execute(statement)


def _change_postgresql(dsn: str, statement: str) -> None:
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


_SQLITE_TRIGGER: Final = """
    CREATE TRIGGER no_thirteen BEFORE INSERT ON system_metrics WHEN NEW.value = 13
    BEGIN SELECT RAISE(ABORT, 'thirteen is refused'); END"""
_CHECK: Final = (
    "ALTER TABLE system_metrics ADD CONSTRAINT no_thirteen CHECK (value <> 13) NOT VALID"
)
_POSTGRESQL_TRIGGER: Final = """
    CREATE FUNCTION refuse_thirteen() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.value = 13 THEN RAISE EXCEPTION 'thirteen is refused'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER no_thirteen BEFORE INSERT ON system_metrics
    FOR EACH ROW EXECUTE FUNCTION refuse_thirteen()"""

KINDS: Final = {
    "memory": Kind(lambda _: open_backend("memory", None, max_memory_entries=_PLENTY), keeps=False),
    "sqlite": Kind(
        lambda folder: open_backend(
            "sqlite", f"sqlite:///{folder}/store.db", max_memory_entries=_PLENTY
        ),
        change=_change_sqlite,
        refuse_thirteen=(_SQLITE_TRIGGER,),
    ),
    "postgresql": Kind(
        lambda dsn: open_backend("postgresql", dsn, max_memory_entries=_PLENTY),
        server="postgresql_server",
        replaces=False,
        keeps_nul=False,
        deletes_by=_DAY,
        change=_change_postgresql,
        refuse_thirteen=(_CHECK, _POSTGRESQL_TRIGGER),
    ),
    "timescaledb": Kind(
        lambda dsn: open_backend("timescaledb", dsn, max_memory_entries=_PLENTY),
        server="timescaledb_server",
        replaces=False,
        keeps_nul=False,
        deletes_by=_DAY,
        interrupts=False,
        change=_change_postgresql,
        refuse_thirteen=(_CHECK, _POSTGRESQL_TRIGGER),
    ),
}
