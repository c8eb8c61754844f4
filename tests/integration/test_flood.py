"""More than it can take does not bring it down: memory, answers, and what is stored afterwards.

The limit is far below the usual one, so that some seconds reach it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import pytest
from kit.fuzz.flood import Flood, Maker, Watched, flooding, new_series, steady, watching
from kit.processes import Program, environment
from kit.receiver import plain, refused

MIB: Final = 1024 * 1024
LIMIT_MIB: Final = 256
SECONDS: Final = 5.0


@contextmanager
def receiving(folder: Path, **settings: str) -> Iterator[tuple[Program, str]]:
    env = environment(
        OPENFINOPS_DB_URL=f"sqlite:///{folder / 'store.db'}",
        OPENFINOPS_MEMORY_LIMIT_MIB=str(LIMIT_MIB),
        OPENFINOPS_BATCH_INTERVAL_SECONDS="0.5",
        OPENFINOPS_SHUTDOWN_TIMEOUT_SECONDS="50",
        **settings,
    )
    with Program("serve", "--endpoint", "localhost:0", cwd=folder, env=env) as program:
        yield program, program.wait_until_listening()
        assert program.stop() == 0
        assert "Traceback" not in program.log


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A database that takes nothing: somebody else has it locked."""
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def store_the_rest(folder: Path) -> None:
    """Start the program once more, and stop it when it has read all of the spool."""
    with receiving(folder) as (program, _):
        if "from before" in program.log and "caught up" not in program.log:
            program.wait_for_line("caught up")


def stored(folder: Path) -> dict[tuple[int, int], int]:
    """How many points each request has in the store."""
    with closing(sqlite3.connect(folder / "store.db")) as connection:
        rows = connection.execute(
            "SELECT CAST(substr(metric_name, 8) AS INTEGER), CAST(value AS INTEGER), count(*) "
            "FROM system_metrics JOIN metric_series USING (series_id) GROUP BY 1, 2"
        ).fetchall()
    return {(sender, number): points for sender, number, points in rows}


def flood(
    folder: Path,
    make: Maker,
    points: int,
    *,
    senders: int,
    away: bool = False,
    **settings: str,
) -> Flood:
    """Flood it, look at it meanwhile, and compare what it stored with what it acknowledged."""
    with receiving(folder, **settings) as (program, address):
        with (
            watching(program.pid, address) as watched,
            flooding(address, make, points, senders=senders) as came,
        ):
            if away:
                with locked(folder):
                    time.sleep(SECONDS)
            time.sleep(SECONDS)
        is_as_it_should_be(watched)
    print(  # noqa: T201 - the figures for docs/robustness.md, with -s
        f"peak {watched.peak_bytes // MIB} MiB, {len(came.acknowledged)} of {came.sent} "
        f"acknowledged, {came.refused.total()} refused, {came.rejected} points rejected"
    )
    store_the_rest(folder)
    came.assert_stored(stored(folder))
    assert came.acknowledged
    return came


def is_as_it_should_be(watched: Watched) -> None:
    assert watched.peak_bytes < LIMIT_MIB * MIB
    assert watched.health.total() > 3
    assert watched.health.keys() <= {"SERVING", "NOT_SERVING"}


@pytest.mark.parametrize("spool", ["on", "off"])
def test_a_database_that_takes_nothing(tmp_path: Path, spool: str) -> None:
    flood(tmp_path, steady(1_000), 1_000, senders=30, away=True, OPENFINOPS_SPOOL=spool)


def test_every_point_is_a_new_series(tmp_path: Path) -> None:
    flood(tmp_path, new_series(1_000), 1_000, senders=10)


def test_every_point_is_a_new_series_while_the_database_takes_nothing(tmp_path: Path) -> None:
    came = flood(tmp_path, new_series(5_000), 5_000, senders=10, away=True)
    assert any("memory_limit_mib" in said for said in came.refused)


def test_new_series_beyond_their_limit_are_rejected_by_name(tmp_path: Path) -> None:
    make = new_series(1_000)
    came = flood(tmp_path, make, 1_000, senders=4, OPENFINOPS_MAX_SERIES="5000")
    assert sum(came.acknowledged.values()) == 5_000
    assert came.rejected > 5_000


def test_five_hundred_connections(tmp_path: Path) -> None:
    came = flood(tmp_path, steady(100), 100, senders=500)
    assert len({sender for sender, _ in came.acknowledged}) > 400


def test_the_largest_messages(tmp_path: Path) -> None:
    points = 67_000  # 2.3 of the 2.4 MiB that this limit allows
    flood(tmp_path, steady(points), points, senders=10)


def test_the_largest_messages_of_new_series(tmp_path: Path) -> None:
    points = 67_000
    flood(tmp_path, new_series(points), points, senders=8)


@pytest.mark.parametrize("mib", [3, 64])
def test_messages_that_the_memory_has_no_room_for_are_refused(tmp_path: Path, mib: int) -> None:
    with (
        receiving(tmp_path) as (program, address),
        watching(program.pid, address) as watched,
        plain(address) as channel,
    ):
        for _ in range(4):
            call = refused(channel, bytes(mib * MIB))
            assert call.code().name == "RESOURCE_EXHAUSTED"
        time.sleep(2)
    is_as_it_should_be(watched)
