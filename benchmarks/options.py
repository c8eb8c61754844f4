"""Command line options that stages read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """Servers and sizes.

    Attributes:
        pg_dsn: connection string of a PostgreSQL server to measure on; None starts one.
        timescaledb_dsn: connection string of a TimescaleDB server; None leaves TimescaleDB out,
            because the engine of the tests runs in WebAssembly and says nothing about speed.
        rows: rows of the stages `queries` and `migration`.
        points: data points of the stage `memory`.
        entries: cost entries of the stages `costs` and `reports`.
    """

    pg_dsn: str | None = None
    timescaledb_dsn: str | None = None
    rows: int = 1_000_000
    points: int = 6_000_000
    entries: int = 300_000
