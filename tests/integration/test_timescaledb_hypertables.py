"""Hypertables of the backend `timescaledb`: chunks, indexes, sizes and roll-ups."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import timedelta
from typing import Final

import psycopg2
import pytest
from engines.statements import Connection, execute
from kit.backends.samples import NOW, SECOND, batch_of, flood, point
from kit.backends.stored_rows import FACT_TABLES, count
from kit.backends.timescaledb import (
    COMPRESSING,
    fact_sizes,
    points_size,
    row_of_every_table,
    run_policy,
    started_timescaledb,
)

from exporter.backends.postgresql.schema import migrate
from exporter.backends.timescaledb import HypertableOptions, sizes
from exporter.backends.timescaledb.extension import read_capabilities
from exporter.backends.timescaledb.hypertables import create_indexes
from exporter.model import Batch
from exporter.query.sql_builder import sql

DAY: Final = 86_400 * SECOND


def test_every_fact_table_is_a_hypertable_with_chunks_of_a_day(
    timescaledb_database: str, connection: Connection
) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        for days in range(3):
            backend.write(row_of_every_table(NOW + days * DAY))
        for table in fact_sizes(backend):
            assert (table.rows, table.partitions, table.compressed_partitions) == (3, 3, 0)
    found = execute(
        connection,
        "SELECT hypertable_name, time_interval FROM timescaledb_information.dimensions"
        " WHERE hypertable_schema = 'public'",
    )
    assert dict(found) == dict.fromkeys(FACT_TABLES, timedelta(days=1))


TWO_BTREES: Final = [
    (
        "CREATE INDEX system_metrics_series ON public.system_metrics USING btree"
        ' (series_id, "timestamp")'
    ),
    'CREATE INDEX system_metrics_time ON public.system_metrics USING btree ("timestamp")',
]


def indexes(connection: Connection, table: str) -> list[str]:
    found = execute(
        connection,
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = %s ORDER BY 1",
        (table,),
    )
    return [text for (text,) in found]


@pytest.mark.parametrize("options", [HypertableOptions(), COMPRESSING], ids=["rows", "columns"])
def test_two_indexes_that_are_not_unique(
    timescaledb_database: str, connection: Connection, options: HypertableOptions
) -> None:
    with started_timescaledb(timescaledb_database, options):
        for table in set(FACT_TABLES) - {"cost_entries"}:
            expected = [text.replace("system_metrics", table) for text in TWO_BTREES]
            assert indexes(connection, table) == expected


def restore_indexes_of_an_earlier_version(connection: Connection) -> None:
    execute(connection, "DROP INDEX system_metrics_series")
    execute(connection, "DROP INDEX system_metrics_time")
    execute(
        connection,
        'CREATE INDEX system_metrics_brin ON system_metrics USING brin ("timestamp", series_id)',
    )


def test_missing_indexes_are_created(timescaledb_database: str, connection: Connection) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        backend.write(batch_of(point(1), point(1, NOW + 3 * DAY)))
    restore_indexes_of_an_earlier_version(connection)
    with started_timescaledb(timescaledb_database) as backend:
        assert count(backend) == 2
    assert indexes(connection, "system_metrics") == TWO_BTREES


def test_missing_indexes_of_a_large_table_are_logged_as_statements(
    timescaledb_database: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        backend.write(batch_of(point(1), point(1, NOW + 3 * DAY)))
    restore_indexes_of_an_earlier_version(connection)
    connection.autocommit = False
    with connection.cursor() as cursor:
        capabilities = read_capabilities(cursor)
        assert capabilities is not None
        create_indexes(cursor, capabilities, "system_metrics", "here", large_bytes=16_383)
    connection.commit()
    connection.autocommit = True
    assert len(indexes(connection, "system_metrics")) == 1
    [message] = caplog.messages
    for statement in message.partition("nothing else writes: ")[2].split("; "):
        # Only a native server accepts transaction_per_chunk. The engine of the tests, which has one
        # process, fails with "tuple concurrently updated".
        plain = statement.removesuffix(" WITH (timescaledb.transaction_per_chunk)")
        assert plain != statement
        execute(connection, plain)
    assert set(TWO_BTREES) < set(indexes(connection, "system_metrics"))


def test_a_changed_chunk_interval_applies_to_new_chunks(timescaledb_database: str) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        backend.write(batch_of(point(1), point(1, NOW + 3_600 * SECOND)))
        assert points_size(backend).partitions == 1
    with started_timescaledb(
        timescaledb_database, HypertableOptions(chunk_interval_seconds=3_600)
    ) as backend:
        later = NOW + 10 * DAY
        backend.write(batch_of(*(point(1, later + hours * 3_600 * SECOND) for hours in range(4))))
        assert points_size(backend).partitions == 1 + 4


def test_an_interrupted_start_is_completed(timescaledb_database: str) -> None:
    with closing(psycopg2.connect(timescaledb_database)) as connection:
        migrate(connection, "here", partition_clause="")
        execute(
            connection,
            "INSERT INTO system_metrics VALUES (now(), 1, 1), (now() - interval '9 days', 1, 2)",
        )
        connection.commit()
    with started_timescaledb(timescaledb_database) as backend:
        assert points_size(backend).partitions == 2
        assert count(backend) == 2


def test_a_query_reads_only_the_chunks_of_its_range(timescaledb_database: str) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        backend.write(batch_of(*(point(1, NOW + days * DAY) for days in range(10))))
        question = sql(
            "EXPLAIN SELECT * FROM system_metrics WHERE timestamp >= {start} AND timestamp < {end}",
            start=backend.dialect.time_parameter((NOW + 2 * DAY) // 1_000),
            end=backend.dialect.time_parameter((NOW + 3 * DAY) // 1_000),
        )
        plan = backend.fetch(question.render(backend.dialect.placeholder), question.parameters)
    chunks = {name for (line,) in plan for name in re.findall(r" on (_hyper_\d+_\d+_chunk) ", line)}
    assert 1 <= len(chunks) <= 2, plan


def test_rows_of_a_large_table_are_estimated(
    timescaledb_database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "_COUNTED_BYTES", 1 << 20)
    with started_timescaledb(timescaledb_database, HypertableOptions(rollups=False)) as backend:
        for index in range(7):
            backend.write(Batch(points=flood(5_000, time=NOW + index * DAY)))
        execute(connection, "ANALYZE system_metrics")
        size = points_size(backend)
    assert size.size_bytes is not None
    assert size.size_bytes > 1 << 20
    assert not size.rows_are_exact
    assert abs(size.rows - 35_000) < 1_750
    midnight = NOW // DAY * DAY
    assert size.oldest_unix_nano == midnight
    assert size.newest_unix_nano == midnight + 7 * DAY - 1_000
    assert not size.times_are_exact


@pytest.mark.parametrize(
    ("name", "rows"), [("metric_rollups_hourly", 3), ("metric_rollups_daily", 2)]
)
def test_roll_ups_are_equal_before_and_after_their_policy_runs(
    timescaledb_database: str, connection: Connection, name: str, rows: int
) -> None:
    midnight = NOW // DAY * DAY
    with started_timescaledb(timescaledb_database, HypertableOptions()) as backend:
        backend.write(
            batch_of(
                point(1, midnight, 4.0),
                point(1, midnight + SECOND, float("nan")),
                point(1, midnight + 2 * SECOND, 1.0),
                point(1, midnight + 3 * SECOND, recorded=False),
                point(1, midnight + 3_600 * SECOND, 7.0),
                point(2, midnight + 3_600 * SECOND, 2.0),
            )
        )
        question = f"SELECT * FROM {name} ORDER BY bucket, series_id"  # noqa: S608
        live = backend.fetch(question)
        run_policy(connection, name, "policy_refresh_continuous_aggregate")
        assert backend.fetch(question) == live
        assert len(live) == rows
        whole = [row[2:8] for row in live if row[1] == 1]
        if name == "metric_rollups_hourly":
            assert whole == [(3, 2, 5.0, 1.0, 4.0, 1.0), (1, 1, 7.0, 7.0, 7.0, 7.0)]
        else:
            assert whole == [(4, 3, 12.0, 1.0, 7.0, 7.0)]


def test_late_rows_reach_the_roll_ups(timescaledb_database: str, connection: Connection) -> None:
    with started_timescaledb(timescaledb_database, HypertableOptions()) as backend:
        backend.write(batch_of(point(1, NOW, 1.0), point(1, NOW + 5 * DAY, 1.0)))
        run_policy(connection, "metric_rollups_daily", "policy_refresh_continuous_aggregate")
        backend.write(batch_of(point(1, NOW + SECOND, 2.0)))
        run_policy(connection, "metric_rollups_daily", "policy_refresh_continuous_aggregate")
        sums = backend.fetch("SELECT sum FROM metric_rollups_daily ORDER BY bucket")
    assert sums == [(3.0,), (1.0,)]
