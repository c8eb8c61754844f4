"""Overload: the memory limit holds, health checks are answered, acknowledged points are stored.

The memory limit is far below the default, so that some seconds of load reach it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from kit.fuzz.flood import (
    FloodResult,
    ProcessObservation,
    RequestFactory,
    new_series,
    observe,
    send_flood,
    steady_series,
)
from kit.pipelines import query_file, wait_until, write_locked
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


def store_pending(folder: Path) -> None:
    """Start the program once more, and stop it when it has replayed the spool."""
    with receiving(folder) as (program, _):
        if "from before" in program.log and "caught up" not in program.log:
            program.wait_for_line("caught up")


def stored(folder: Path) -> dict[tuple[int, int], int]:
    """The number of stored points of each request."""
    rows = query_file(
        folder / "store.db",
        "SELECT CAST(substr(metric_name, 8) AS INTEGER), CAST(value AS INTEGER), count(*) "
        "FROM system_metrics JOIN metric_series USING (series_id) GROUP BY 1, 2",
    )
    return {(sender, number): points for sender, number, points in rows}


def flood(
    folder: Path,
    make: RequestFactory,
    points: int,
    *,
    senders: int,
    is_locked: bool = False,
    until_refused: str = "",
    **settings: str,
) -> FloodResult:
    """Overload the receiver, watch it meanwhile, and compare stored and acknowledged points.

    With `until_refused` the database stays locked until an answer contains this text: how many
    requests a busy machine sends in some seconds is unknown.
    """
    with receiving(folder, **settings) as (program, address):
        with (
            observe(program.pid, address) as observation,
            send_flood(address, make, points, senders=senders) as result,
        ):
            if is_locked:
                with write_locked(folder / "store.db"):
                    time.sleep(SECONDS)
                    wait_until(
                        lambda: any(until_refused in one for one in [*result.refused, ""]),
                        timeout_seconds=60,
                    )
            time.sleep(SECONDS)
        assert_healthy(observation)
    print(  # noqa: T201 - the figures for docs/robustness.md, with -s
        f"peak {observation.peak_bytes // MIB} MiB, {len(result.acknowledged)} of {result.sent} "
        f"acknowledged, {result.refused.total()} refused, {result.rejected} points rejected"
    )
    store_pending(folder)
    result.assert_stored(stored(folder))
    assert result.acknowledged
    return result


def assert_healthy(observation: ProcessObservation) -> None:
    assert observation.peak_bytes < LIMIT_MIB * MIB
    assert observation.health.total() > 3
    assert observation.health.keys() <= {"SERVING", "NOT_SERVING"}


@pytest.mark.parametrize("spool", ["on", "off"])
def test_the_database_is_locked(tmp_path: Path, spool: str) -> None:
    flood(tmp_path, steady_series(1_000), 1_000, senders=30, is_locked=True, OPENFINOPS_SPOOL=spool)


def test_every_point_is_a_new_series(tmp_path: Path) -> None:
    flood(tmp_path, new_series(1_000), 1_000, senders=10)


def test_every_point_is_a_new_series_and_the_database_is_locked(tmp_path: Path) -> None:
    flood(
        tmp_path,
        new_series(5_000),
        5_000,
        senders=10,
        is_locked=True,
        until_refused="memory_limit_mib",
    )


def test_new_series_beyond_max_series_are_rejected(tmp_path: Path) -> None:
    make = new_series(1_000)
    result = flood(tmp_path, make, 1_000, senders=4, OPENFINOPS_MAX_SERIES="5000")
    assert sum(result.acknowledged.values()) == 5_000
    assert result.rejected > 5_000


def test_five_hundred_connections(tmp_path: Path) -> None:
    result = flood(tmp_path, steady_series(100), 100, senders=500)
    assert len({sender for sender, _ in result.acknowledged}) > 400


def test_the_largest_messages(tmp_path: Path) -> None:
    points = 67_000  # 2.3 of the 2.4 MiB that this limit allows
    flood(tmp_path, steady_series(points), points, senders=10)


def test_the_largest_messages_of_new_series(tmp_path: Path) -> None:
    points = 67_000
    flood(tmp_path, new_series(points), points, senders=8)


@pytest.mark.parametrize("mib", [3, 64])
def test_messages_beyond_the_memory_limit_are_refused(tmp_path: Path, mib: int) -> None:
    with (
        receiving(tmp_path) as (program, address),
        observe(program.pid, address) as observation,
        plain(address) as channel,
    ):
        for _ in range(4):
            call = refused(channel, bytes(mib * MIB))
            assert call.code().name == "RESOURCE_EXHAUSTED"
        time.sleep(2)
    assert_healthy(observation)
