"""The columnstore of the backend `timescaledb`, filled by its policy and by COPY."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

import pytest
from engines.statements import Connection, execute
from kit.backends.samples import NOW, SECOND, batch_of, flood, point
from kit.backends.stored_rows import FACT_TABLES, count, stored
from kit.backends.timescaledb import (
    COMPRESSED_TABLES,
    COMPRESSING,
    fact_sizes,
    points_size,
    policy_ages,
    row_of_every_table,
    run_policy,
    started_timescaledb,
)

from exporter.model import Batch

DAY: Final = 86_400 * SECOND


SETUP_LOG: Final = "exporter.backends.timescaledb.hypertable_setup"


@pytest.mark.parametrize("table", COMPRESSED_TABLES)
def test_the_policy_compresses_without_changing_rows(
    timescaledb_database: str, connection: Connection, table: str
) -> None:
    with started_timescaledb(timescaledb_database, COMPRESSING) as backend:
        backend.write(row_of_every_table(NOW))
        backend.write(row_of_every_table(NOW + SECOND))
        before = stored(backend)
        run_policy(connection, table, "policy_compression")
        compressed = {size.table: size.compressed_partitions for size in fact_sizes(backend)}
        assert compressed == {name: int(name == table) for name in FACT_TABLES}
        assert stored(backend) == before


def test_compressed_rows_take_a_tenth_of_the_space(
    timescaledb_database: str, connection: Connection
) -> None:
    # Rows that COPY compresses have no uncompressed size.
    with started_timescaledb(
        timescaledb_database, replace(COMPRESSING, direct_compress="off")
    ) as backend:
        backend.write(Batch(points=flood(50_000)))
        run_policy(connection, "system_metrics", "policy_compression")
        assert points_size(backend).compression_ratio > 8
        assert count(backend) == 50_000


def test_late_rows_in_a_compressed_chunk_are_compressed_later(
    timescaledb_database: str, connection: Connection
) -> None:
    with started_timescaledb(timescaledb_database, COMPRESSING) as backend:
        backend.write(Batch(points=flood(1_000)))
        run_policy(connection, "system_metrics", "policy_compression")
        backend.write(Batch(points=flood(500, time=NOW + 60 * SECOND)))
        assert count(backend) == 1_500
        assert uncompressed_rows(connection) == 500
        run_policy(connection, "system_metrics", "policy_compression")
        assert uncompressed_rows(connection) == 0
        assert count(backend) == 1_500


def uncompressed_rows(connection: Connection) -> int:
    """Rows in the row store of the only chunk of system_metrics."""
    [(chunk,)] = execute(connection, "SELECT c::text FROM show_chunks('system_metrics') AS c")
    [(rows,)] = execute(connection, f"SELECT count(*) FROM ONLY {chunk}")  # noqa: S608 - the engine's name
    return int(rows)


def test_compressed_chunks_are_deleted(timescaledb_database: str, connection: Connection) -> None:
    with started_timescaledb(timescaledb_database, COMPRESSING) as backend:
        for days in range(3):
            backend.write(Batch(points=flood(100, time=NOW + days * DAY)))
        run_policy(connection, "system_metrics", "policy_compression")
        assert backend.count_before(NOW + 2 * DAY)["system_metrics"] == 200
        assert backend.delete_before(NOW + 2 * DAY) == 200
        assert count(backend) == 100


def test_compressed_rows_stay_readable_after_compression_is_switched_off(
    timescaledb_database: str, connection: Connection
) -> None:
    with started_timescaledb(timescaledb_database, COMPRESSING) as backend:
        backend.write(Batch(points=flood(1_000)))
        run_policy(connection, "system_metrics", "policy_compression")
    with started_timescaledb(
        timescaledb_database, replace(COMPRESSING, enable_compression=False)
    ) as backend:
        assert "policy_compression" not in policy_ages(connection, "system_metrics")
        backend.write(Batch(points=flood(1_000, time=NOW + DAY)))
        assert count(backend) == 2_000
        assert points_size(backend).compressed_partitions == 1


def test_direct_compress_writes_compressed_rows_that_are_read_in_order(
    timescaledb_database: str,
) -> None:
    # Four batches that overlap by series and time: "client sorted" returns them out of order.
    options = replace(COMPRESSING, direct_compress="on")
    with started_timescaledb(timescaledb_database, options) as backend:
        for index in range(4):
            backend.write(Batch(points=flood(12_000, time=NOW + index * 250_000)))
        assert points_size(backend).compressed_partitions == 1
        rows = backend.fetch(
            "SELECT series_id, timestamp, value FROM system_metrics ORDER BY series_id, timestamp"
        )
        of_one = backend.fetch(
            "SELECT timestamp FROM system_metrics WHERE series_id = 7 ORDER BY timestamp"
        )
    assert len(rows) == 48_000
    assert rows == sorted(rows)
    assert of_one == sorted(of_one)


def test_direct_compress_keeps_null_values_and_starts(timescaledb_database: str) -> None:
    options = replace(COMPRESSING, direct_compress="on")
    rows = (
        point(1, NOW, float("nan")),
        point(1, NOW + SECOND, 0.0, recorded=False),
        point(2, NOW, float("-inf"), start=NOW - DAY),
        point(2, NOW + 2 * DAY, -0.5, recorded=False, start=NOW),
    )
    with started_timescaledb(timescaledb_database, options) as backend:
        backend.write(batch_of(*rows))
        compressed = stored(backend)
        assert points_size(backend).compressed_partitions == 2
        backend.delete_before(NOW + 100 * DAY)
    with started_timescaledb(
        timescaledb_database, replace(options, direct_compress="off")
    ) as backend:
        backend.write(batch_of(*rows))
        assert points_size(backend).compressed_partitions == 0
        assert stored(backend) == compressed


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_auto_does_not_use_direct_compress_of_an_unsafe_version(
    timescaledb_database: str, connection: Connection, mode: Any
) -> None:
    [(version,)] = execute(
        connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    safe = tuple(map(int, version.split(".")[:2])) >= (2, 28)
    with started_timescaledb(
        timescaledb_database, replace(COMPRESSING, direct_compress=mode)
    ) as backend:
        backend.write(Batch(points=flood(20_000)))
        assert points_size(backend).compressed_partitions == int(safe and mode == "auto")


def test_direct_compress_on_an_unsafe_version_logs_a_warning(
    timescaledb_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, SETUP_LOG),
        started_timescaledb(
            timescaledb_database, replace(COMPRESSING, direct_compress="on")
        ) as backend,
    ):
        [(version,)] = backend.fetch(
            "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        )
    unsafe = tuple(map(int, version.split(".")[:2])) < (2, 28)
    assert [version in message for message in caplog.messages] == [True] * unsafe
