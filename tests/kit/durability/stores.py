"""The databases of a program under test, and how to read back their points."""

from __future__ import annotations

import socket
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg2

from kit.durability.senders import Key

_SETTINGS: Final = {
    "OPENFINOPS_BATCH_SIZE": "500",
    "OPENFINOPS_BATCH_INTERVAL_SECONDS": "0.2",
}


@dataclass(frozen=True, slots=True)
class Store:
    """A database.

    Attributes:
        url: its connection string.
        settings: environment variables for the program.
    """

    url: str
    settings: Mapping[str, str]

    def points(self) -> Counter[Key]:
        """The number of times that each point is stored."""
        if self.url.startswith("sqlite:"):
            return _sqlite_points(self.url.removeprefix("sqlite:///"))
        return _postgresql_points(self.url)


def sqlite_store(folder: Path) -> Store:
    """A SQLite file in this folder."""
    url = f"sqlite:///{folder / 'store.db'}"
    return Store(url, {**_SETTINGS, "OPENFINOPS_DB_URL": url})


def postgresql_store(url: str, folder: Path) -> Store:
    """A PostgreSQL database, with the spool in this folder."""
    spool = str(folder / "requests.spool")
    return Store(url, {**_SETTINGS, "OPENFINOPS_DB_URL": url, "OPENFINOPS_SPOOL_PATH": spool})


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def _sqlite_points(path: str) -> Counter[Key]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT metric_name, timestamp FROM system_metrics JOIN metric_series USING (series_id)"
        ).fetchall()
    return Counter((name, int(unix_micro)) for name, unix_micro in rows)


def _postgresql_points(url: str) -> Counter[Key]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT metric_name, round(extract(epoch FROM timestamp) * 1000000)::bigint "
            "FROM system_metrics JOIN metric_series USING (series_id)"
        )
        return Counter((name, int(unix_micro)) for name, unix_micro in cursor.fetchall())
