"""What the command line decides for every stage."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Options"]


@dataclass(frozen=True, slots=True)
class Options:
    """Which servers, and how much.

    Attributes:
        pg_dsn: connection string of a PostgreSQL server to measure on; None starts one.
        timescaledb_dsn: likewise of a TimescaleDB server; None leaves TimescaleDB out, because
            the engine of the tests says nothing about speed.
        rows: how many rows the stages `queries` and `migration` have.
        points: how many points the stage `memory` sends.
        entries: how many cost entries the stage `reports` has.
    """

    pg_dsn: str | None = None
    timescaledb_dsn: str | None = None
    rows: int = 1_000_000
    points: int = 6_000_000
    entries: int = 300_000
