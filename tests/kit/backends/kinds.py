"""The backends of the contract suite. A new backend is a new entry in `KINDS`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Final

import psycopg2

from exporter.backends import open_backend
from exporter.backends.base import Backend

StoreFactory = Callable[[], AbstractContextManager[Backend]]

_PLENTY: Final = 1_000_000
_MICROSECOND: Final = 1_000
_DAY: Final = 86_400_000_000_000


@dataclass(frozen=True)
class Kind:
    """How to create a backend, and how its behaviour differs from that of others.

    Attributes:
        make: creates a backend for a location, not started. A location has its own data.
        server: the fixture that creates databases, whose connection strings are the locations; None
            if a location is a folder.
        keeps: whether data survives `close`.
        replaces: whether a point replaces a stored point of its series and microsecond; otherwise
            both are stored.
        keeps_nul: whether text may have a NUL; otherwise U+FFFD replaces it.
        deletes_by: nanoseconds of the interval whose rows are deleted together.
        interrupts: whether a running statement can be cancelled; not in the tests' TimescaleDB
            (tests/engines/README.md).
        change: runs a user's SQL on a location; None if no other program can open it.
        refuse_thirteen: such SQL that makes the database refuse points with the value 13, one for
            each mechanism that it has.
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
