"""The backend `timescaledb` on a real TimescaleDB, beyond what every backend does."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

import psycopg2
import pytest
from engines.databases import Databases
from engines.statements import Connection, execute
from engines.timescaledb import WITHOUT_EXTENSION
from kit.backends.reading import FACT_TABLES, count, stored
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    exemplar,
    flood,
    histogram,
    point,
    series,
    summary,
)

from exporter.assembly import backend_for
from exporter.backends.base import Backend
from exporter.backends.postgresql import PostgreSQLBackend
from exporter.backends.postgresql.schema import migrate
from exporter.backends.timescaledb import HypertableOptions, sizes, timescaledb_backend
from exporter.backends.timescaledb.extension import (
    Capabilities,
    read_capabilities,
    require_extension,
)
from exporter.backends.timescaledb.hypertable_setup import configure_hypertables
from exporter.backends.timescaledb.hypertables import create_indexes
from exporter.config import load
from exporter.errors import BackendRefusedError, NothingStoredError
from exporter.model import Batch, CostEntry, TableSize
from exporter.query.sql import sql

DEFAULT_OPTIONS: Final = HypertableOptions()
DAY: Final = 86_400 * SECOND
SECONDS_A_DAY: Final = 86_400
COMPRESSING: Final = HypertableOptions(enable_compression=True, retention_days=30, rollups=False)
SETUP_LOG: Final = "exporter.backends.timescaledb.hypertable_setup"


@contextmanager
def store(dsn: str, options: HypertableOptions = DEFAULT_OPTIONS) -> Iterator[PostgreSQLBackend]:
    backend = timescaledb_backend(dsn, options=options)
    backend.start()
    try:
        yield backend
    finally:
        backend.close()


@pytest.fixture
def connection(timescaledb_database: str) -> Iterator[Connection]:
    with connected(timescaledb_database) as opened:
        yield opened


@contextmanager
def connected(dsn: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(dsn)) as opened:
        opened.autocommit = True
        yield opened


def everything(time: int) -> Batch:
    return batch_of(
        point(1, time),
        new_series=(series(1),),
        histograms=(histogram(1, time),),
        summaries=(summary(1, time),),
        exemplars=(exemplar(1, time),),
        costs=(CostEntry(f"e-{time}", time, "vm-1", "compute", Decimal(1), "USD"),),
    )


# Late points change the entries of costs, so these are not compressed.
COMPRESSED_TABLES: Final = [table for table in FACT_TABLES if table != "cost_entries"]


def points_of(backend: PostgreSQLBackend) -> TableSize:
    return facts_of(backend)[0]


def facts_of(backend: PostgreSQLBackend) -> tuple[TableSize, ...]:
    return backend.sizes().tables[: len(FACT_TABLES)]


def jobs(connection: Connection, table: str) -> dict[str, timedelta]:
    """The age of each policy of a table, by its procedure."""
    return dict(
        execute(
            connection,
            "SELECT proc_name, coalesce(config ->> 'drop_after', config ->> 'compress_after')"
            "::interval FROM timescaledb_information.jobs WHERE hypertable_name = %s"
            " AND proc_name IN ('policy_retention', 'policy_compression')",
            (table,),
        )
    )


def run_policy(connection: Connection, table: str, procedure: str) -> None:
    """What the background workers would do."""
    [(job,)] = execute(
        connection,
        "SELECT job_id FROM timescaledb_information.jobs"
        " WHERE hypertable_name = %s AND proc_name = %s",
        (table, procedure),
    )
    execute(connection, f"CALL run_job({job})")


# ---- tables ----


def test_every_fact_table_is_a_hypertable_of_days(
    timescaledb_database: str, connection: Connection
) -> None:
    with store(timescaledb_database) as backend:
        for days in range(3):
            backend.write(everything(NOW + days * DAY))
        for table in facts_of(backend):
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
def test_two_indexes_and_none_unique(
    timescaledb_database: str, connection: Connection, options: HypertableOptions
) -> None:
    with store(timescaledb_database, options):
        for table in set(FACT_TABLES) - {"cost_entries"}:
            expected = [text.replace("system_metrics", table) for text in TWO_BTREES]
            assert indexes(connection, table) == expected


def as_an_earlier_version_left_it(connection: Connection) -> None:
    execute(connection, "DROP INDEX system_metrics_series")
    execute(connection, "DROP INDEX system_metrics_time")
    execute(
        connection,
        'CREATE INDEX system_metrics_brin ON system_metrics USING brin ("timestamp", series_id)',
    )


def test_tables_of_an_earlier_version_get_their_indexes(
    timescaledb_database: str, connection: Connection
) -> None:
    with store(timescaledb_database) as backend:
        backend.write(batch_of(point(1), point(1, NOW + 3 * DAY)))
    as_an_earlier_version_left_it(connection)
    with store(timescaledb_database) as backend:
        assert count(backend) == 2
    assert indexes(connection, "system_metrics") == TWO_BTREES


def test_of_a_large_table_it_is_said_what_to_run(
    timescaledb_database: str, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    with store(timescaledb_database) as backend:
        backend.write(batch_of(point(1), point(1, NOW + 3 * DAY)))
    as_an_earlier_version_left_it(connection)
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
        # A transaction a chunk ends in "tuple concurrently updated" on the engine of the tests,
        # which has one process for everything; a native server takes it.
        plain = statement.removesuffix(" WITH (timescaledb.transaction_per_chunk)")
        assert plain != statement
        execute(connection, plain)
    assert set(TWO_BTREES) < set(indexes(connection, "system_metrics"))


def test_another_chunk_interval_is_for_chunks_yet_to_come(timescaledb_database: str) -> None:
    with store(timescaledb_database) as backend:
        backend.write(batch_of(point(1), point(1, NOW + 3_600 * SECOND)))
        assert points_of(backend).partitions == 1
    with store(timescaledb_database, HypertableOptions(chunk_interval_seconds=3_600)) as backend:
        later = NOW + 10 * DAY
        backend.write(batch_of(*(point(1, later + hours * 3_600 * SECOND) for hours in range(4))))
        assert points_of(backend).partitions == 1 + 4


def test_a_start_that_was_interrupted_is_finished(timescaledb_database: str) -> None:
    with closing(psycopg2.connect(timescaledb_database)) as connection:
        migrate(connection, "here", partition_clause="")
        execute(
            connection,
            "INSERT INTO system_metrics VALUES (now(), 1, 1), (now() - interval '9 days', 1, 2)",
        )
        connection.commit()
    with store(timescaledb_database) as backend:
        assert points_of(backend).partitions == 2
        assert count(backend) == 2


def test_a_query_reads_the_chunks_of_its_days_only(timescaledb_database: str) -> None:
    with store(timescaledb_database) as backend:
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
    with store(timescaledb_database, HypertableOptions(rollups=False)) as backend:
        for index in range(7):
            backend.write(Batch(points=flood(5_000, time=NOW + index * DAY)))
        execute(connection, "ANALYZE system_metrics")
        size = points_of(backend)
    assert size.size_bytes is not None
    assert size.size_bytes > 1 << 20
    assert not size.rows_are_exact
    assert abs(size.rows - 35_000) < 1_750
    midnight = NOW // DAY * DAY
    assert size.oldest_unix_nano == midnight
    assert size.newest_unix_nano == midnight + 7 * DAY - 1_000
    assert not size.times_are_exact


# ---- the columnstore ----


@pytest.mark.parametrize("table", COMPRESSED_TABLES)
def test_the_policy_compresses_and_nothing_is_lost(
    timescaledb_database: str, connection: Connection, table: str
) -> None:
    with store(timescaledb_database, COMPRESSING) as backend:
        backend.write(everything(NOW))
        backend.write(everything(NOW + SECOND))
        before = stored(backend)
        run_policy(connection, table, "policy_compression")
        compressed = {size.table: size.compressed_partitions for size in facts_of(backend)}
        assert compressed == {name: int(name == table) for name in FACT_TABLES}
        assert stored(backend) == before


def test_compressed_rows_take_a_tenth_of_the_space(
    timescaledb_database: str, connection: Connection
) -> None:
    # Rows that are compressed as they come have no size before.
    with store(timescaledb_database, replace(COMPRESSING, direct_compress="off")) as backend:
        backend.write(Batch(points=flood(50_000)))
        run_policy(connection, "system_metrics", "policy_compression")
        assert points_of(backend).compression_ratio > 8
        assert count(backend) == 50_000


def test_late_rows_go_into_a_compressed_chunk_and_are_compressed_later(
    timescaledb_database: str, connection: Connection
) -> None:
    with store(timescaledb_database, COMPRESSING) as backend:
        backend.write(Batch(points=flood(1_000)))
        run_policy(connection, "system_metrics", "policy_compression")
        backend.write(Batch(points=flood(500, time=NOW + 60 * SECOND)))
        assert count(backend) == 1_500
        assert uncompressed_rows(connection) == 500
        run_policy(connection, "system_metrics", "policy_compression")
        assert uncompressed_rows(connection) == 0
        assert count(backend) == 1_500


def uncompressed_rows(connection: Connection) -> int:
    """Rows of the only chunk of system_metrics that are in the row store."""
    [(chunk,)] = execute(connection, "SELECT c::text FROM show_chunks('system_metrics') AS c")
    [(rows,)] = execute(connection, f"SELECT count(*) FROM ONLY {chunk}")  # noqa: S608 - the engine's name
    return int(rows)


def test_what_is_compressed_is_deleted_by_its_chunks(
    timescaledb_database: str, connection: Connection
) -> None:
    with store(timescaledb_database, COMPRESSING) as backend:
        for days in range(3):
            backend.write(Batch(points=flood(100, time=NOW + days * DAY)))
        run_policy(connection, "system_metrics", "policy_compression")
        assert backend.count_before(NOW + 2 * DAY)["system_metrics"] == 200
        assert backend.delete_before(NOW + 2 * DAY) == 200
        assert count(backend) == 100


def test_compression_that_is_switched_off_leaves_compressed_rows_readable(
    timescaledb_database: str, connection: Connection
) -> None:
    with store(timescaledb_database, COMPRESSING) as backend:
        backend.write(Batch(points=flood(1_000)))
        run_policy(connection, "system_metrics", "policy_compression")
    with store(timescaledb_database, replace(COMPRESSING, enable_compression=False)) as backend:
        assert "policy_compression" not in jobs(connection, "system_metrics")
        backend.write(Batch(points=flood(1_000, time=NOW + DAY)))
        assert count(backend) == 2_000
        assert points_of(backend).compressed_partitions == 1


# ---- direct compress ----


def test_direct_compress_writes_compressed_rows_that_are_read_in_order(
    timescaledb_database: str,
) -> None:
    # Four batches that overlap by series and time: with "client sorted" the answer is out of order.
    options = replace(COMPRESSING, direct_compress="on")
    with store(timescaledb_database, options) as backend:
        for index in range(4):
            backend.write(Batch(points=flood(12_000, time=NOW + index * 250_000)))
        assert points_of(backend).compressed_partitions == 1
        rows = backend.fetch(
            "SELECT series_id, timestamp, value FROM system_metrics ORDER BY series_id, timestamp"
        )
        of_one = backend.fetch(
            "SELECT timestamp FROM system_metrics WHERE series_id = 7 ORDER BY timestamp"
        )
    assert len(rows) == 48_000
    assert rows == sorted(rows)
    assert of_one == sorted(of_one)


def test_direct_compress_keeps_what_has_no_value_or_start(timescaledb_database: str) -> None:
    options = replace(COMPRESSING, direct_compress="on")
    rows = (
        point(1, NOW, float("nan")),
        point(1, NOW + SECOND, 0.0, recorded=False),
        point(2, NOW, float("-inf"), start=NOW - DAY),
        point(2, NOW + 2 * DAY, -0.5, recorded=False, start=NOW),
    )
    with store(timescaledb_database, options) as backend:
        backend.write(batch_of(*rows))
        directly = stored(backend)
        assert points_of(backend).compressed_partitions == 2
        backend.delete_before(NOW + 100 * DAY)
    with store(timescaledb_database, replace(options, direct_compress="off")) as backend:
        backend.write(batch_of(*rows))
        assert points_of(backend).compressed_partitions == 0
        assert stored(backend) == directly


@pytest.mark.parametrize("mode", ["auto", "off"])
def test_an_extension_that_lost_rows_is_not_trusted_with_it(
    timescaledb_database: str, connection: Connection, mode: Any
) -> None:
    [(version,)] = execute(
        connection, "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
    )
    safe = tuple(map(int, version.split(".")[:2])) >= (2, 28)
    with store(timescaledb_database, replace(COMPRESSING, direct_compress=mode)) as backend:
        backend.write(Batch(points=flood(20_000)))
        assert points_of(backend).compressed_partitions == int(safe and mode == "auto")


def test_direct_compress_by_order_is_warned_of_where_it_is_not_safe(
    timescaledb_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, SETUP_LOG),
        store(timescaledb_database, replace(COMPRESSING, direct_compress="on")) as backend,
    ):
        [(version,)] = backend.fetch(
            "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
        )
    unsafe = tuple(map(int, version.split(".")[:2])) < (2, 28)
    assert [version in message for message in caplog.messages] == [True] * unsafe


# ---- retention ----


def test_the_retention_policy_drops_old_chunks_and_no_others(
    timescaledb_database: str, connection: Connection
) -> None:
    [(now,)] = execute(connection, "SELECT (extract(epoch FROM now()) * 1000000)::bigint * 1000")
    with store(timescaledb_database, COMPRESSING) as backend:
        for days in (0, 20, 40, 60):
            backend.write(everything(now - days * DAY))
        for table in FACT_TABLES:
            run_policy(connection, table, "policy_retention")
            assert count(backend, table) == 2, table
        assert count(backend, "metric_series") == 1


def test_policies_follow_the_configuration_and_are_not_made_twice(
    timescaledb_database: str, connection: Connection
) -> None:
    for retention_days, after_days in ((30, 1), (30, 1), (7.5, 2), (90, 2)):
        options = replace(
            COMPRESSING,
            retention_days=retention_days,
            compress_after_seconds=after_days * SECONDS_A_DAY,
        )
        with store(timescaledb_database, options):
            for table in FACT_TABLES:
                compression = {"policy_compression": timedelta(days=after_days)}
                assert jobs(connection, table) == {
                    "policy_retention": timedelta(days=retention_days),
                    **(compression if table in COMPRESSED_TABLES else {}),
                }
    with store(timescaledb_database, HypertableOptions()):  # says nothing of either
        assert jobs(connection, "system_metrics") == {
            "policy_retention": timedelta(days=90),
            "policy_compression": timedelta(days=2),
        }


# ---- roll-ups ----


@pytest.mark.parametrize(
    ("name", "rows"), [("metric_rollups_hourly", 3), ("metric_rollups_daily", 2)]
)
def test_roll_ups_are_right_before_and_after_their_policy_ran(
    timescaledb_database: str, connection: Connection, name: str, rows: int
) -> None:
    midnight = NOW // DAY * DAY
    with store(timescaledb_database, HypertableOptions()) as backend:
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


def test_rows_that_come_late_reach_the_roll_ups(
    timescaledb_database: str, connection: Connection
) -> None:
    with store(timescaledb_database, HypertableOptions()) as backend:
        backend.write(batch_of(point(1, NOW, 1.0), point(1, NOW + 5 * DAY, 1.0)))
        run_policy(connection, "metric_rollups_daily", "policy_refresh_continuous_aggregate")
        backend.write(batch_of(point(1, NOW + SECOND, 2.0)))
        run_policy(connection, "metric_rollups_daily", "policy_refresh_continuous_aggregate")
        sums = backend.fetch("SELECT sum FROM metric_rollups_daily ORDER BY bucket")
    assert sums == [(3.0,), (1.0,)]


# ---- other installations ----

WITHOUT_NEW_NAMES: Final[Sequence[dict[str, bool]]] = (
    {"has_by_range": False},
    {"has_columnstore_names": False},
    {"has_by_range": False, "has_columnstore_names": False, "has_direct_compress_copy": False},
)


@pytest.mark.parametrize("lacking", WITHOUT_NEW_NAMES, ids="-".join)
def test_older_names_do_the_same(
    timescaledb_database: str, connection: Connection, lacking: dict[str, bool]
) -> None:
    capabilities = replace(capabilities_of(connection), **lacking)
    with closing(psycopg2.connect(timescaledb_database)) as setting_up:
        migrate(setting_up, "here", partition_clause="")
        configure_hypertables(setting_up, capabilities, COMPRESSING, "here")
        configure_hypertables(setting_up, capabilities, COMPRESSING, "here")
    with store(timescaledb_database, COMPRESSING) as backend:
        backend.write(Batch(points=flood(1_000)))
        run_policy(connection, "system_metrics", "policy_compression")
        assert points_of(backend).compressed_partitions == 1
        assert count(backend) == 1_000
    assert jobs(connection, "system_metrics") == {
        "policy_retention": timedelta(days=30),
        "policy_compression": timedelta(days=1),
    }


def test_the_apache_license_stores_reads_and_deletes_and_says_so_once(
    timescaledb_apache_database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, SETUP_LOG),
        store(timescaledb_apache_database, COMPRESSING) as backend,
    ):
        backend.write(everything(NOW))
        backend.write(everything(NOW + 3 * DAY))
        backend.write(Batch(points=flood(20_000, time=NOW + 3 * DAY + SECOND)))
        points = points_of(backend)
        assert (points.rows, points.partitions, points.compressed_partitions) == (20_002, 2, None)
        assert backend.delete_before(NOW + 2 * DAY) == 5
        assert count(backend) == 20_001
    assert len(caplog.messages) == 1
    assert "Apache license" in caplog.messages[0]


def test_a_server_without_timescaledb_is_refused(
    postgresql_database: str,
) -> None:
    refused(postgresql_database, "server has no TimescaleDB.*superuser run CREATE EXTENSION")
    with connected(postgresql_database) as connection:
        assert execute(connection, "SELECT to_regclass('system_metrics')") == [(None,)]


def test_nor_does_a_reader_read_plain_tables_there(postgresql_database: str) -> None:
    with closing(PostgreSQLBackend(postgresql_database)) as backend:
        backend.start()
    refused(postgresql_database, "server has no TimescaleDB", read_only=True)


def test_an_extension_that_is_installed_and_not_created_is_created(
    timescaledb_server: Databases,
) -> None:
    with timescaledb_server.fresh(WITHOUT_EXTENSION) as dsn:
        with connected(dsn) as connection:
            execute(connection, "DROP ROLE IF EXISTS openfinops_test_clerk")
            execute(connection, "CREATE ROLE openfinops_test_clerk")
            execute(connection, "SET ROLE openfinops_test_clerk")
            connection.autocommit = False
            with pytest.raises(
                BackendRefusedError, match=r"permission denied.*superuser.*run CREATE EXTENSION"
            ):
                require_extension(connection, "here")
            connection.rollback()
            execute(connection, "RESET ROLE")
            connection.commit()
            with pytest.raises(BackendRefusedError, match="opened for reading only"):
                require_extension(connection, "here", may_create=False)
        with store(dsn) as backend:
            backend.write(batch_of(point(1)))
            assert points_of(backend).partitions == 1


def test_a_reader_refuses_tables_that_are_no_hypertables(timescaledb_database: str) -> None:
    with closing(PostgreSQLBackend(timescaledb_database)) as backend:
        backend.start()
    refused(
        timescaledb_database, r"system_metrics.* must be converted to hypertables", read_only=True
    )


def test_a_reader_reads(timescaledb_database: str) -> None:
    with store(timescaledb_database) as backend:
        backend.write(everything(NOW))
        reader = timescaledb_backend(timescaledb_database, read_only=True)
        reader.start()
        assert stored(reader) == stored(backend)
        assert points_of(reader).rows == 1
        with pytest.raises(BackendRefusedError, match="reading only"):
            reader.write(everything(NOW))
        reader.close()


def capabilities_of(connection: Connection) -> Capabilities:
    with connection.cursor() as cursor:
        found = read_capabilities(cursor)
    assert found is not None
    return found


# ---- from the backend postgresql ----

SAMPLES: Final = 3 + 50  # of the series that is defined
ALL_POINTS: Final = "SELECT * FROM system_metrics ORDER BY timestamp, series_id"


@pytest.fixture
def partitioned(timescaledb_database: str) -> str:
    """A database that the backend `postgresql` has filled: three days of every table."""
    backend = PostgreSQLBackend(timescaledb_database)
    backend.start()
    for days in range(3):
        backend.write(everything(NOW + days * DAY))
    backend.write(Batch(points=flood(5_000, time=NOW + DAY + SECOND)))
    backend.close()
    return timescaledb_database


def test_partitions_become_hypertables_with_all_rows(partitioned: str) -> None:
    before = run(partitioned, "CREATE ROLE dashboard", ALL_POINTS)
    try:
        run(partitioned, "GRANT SELECT ON system_metrics, metric_samples TO dashboard")
        with store(partitioned, COMPRESSING) as backend:
            assert {table.partitions for table in facts_of(backend)} == {3}
            assert [count(backend, table) for table in FACT_TABLES] == [5_003, 3, 3, 3, 3]
            assert count(backend, "metric_samples") == SAMPLES
            backend.write(everything(NOW + 9 * DAY))
            assert points_of(backend).partitions == 4
            backend.delete_before(NOW + DAY)
        readable = run(
            partitioned,
            "SELECT has_table_privilege('dashboard', 'system_metrics', 'SELECT'),"
            " has_table_privilege('dashboard', 'metric_samples', 'SELECT')",
        )
        assert readable == [(True, True)]
        assert run(partitioned, ALL_POINTS)[: len(before) - 1] == before[1:]
        assert leftovers(partitioned) == []
    finally:
        run(partitioned, "DROP OWNED BY dashboard", "DROP ROLE dashboard")


def test_a_conversion_that_was_interrupted_goes_on(partitioned: str) -> None:
    oldest = "system_metrics_p20231114"  # the last to move
    before = run(
        partitioned,
        f"CREATE VIEW theirs AS SELECT * FROM {oldest}",  # noqa: S608
        ALL_POINTS,
    )
    refused(partitioned, "other objects depend on it")
    assert leftovers(partitioned) == [oldest, "system_metrics_partitioned"]
    run(
        partitioned,
        "DROP VIEW theirs",
        "CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER pass_over BEFORE INSERT ON system_metrics"
        " FOR EACH ROW EXECUTE FUNCTION pass_over()",
    )
    refused(partitioned, "would turn 1 rows into 0")
    assert leftovers(partitioned) == [oldest, "system_metrics_partitioned"]
    run(partitioned, "DROP TRIGGER pass_over ON system_metrics")
    with store(partitioned):
        assert run(partitioned, ALL_POINTS) == before
    assert leftovers(partitioned) == []


def test_somebody_elses_view_is_not_left_on_a_table_that_is_going(partitioned: str) -> None:
    run(partitioned, "CREATE VIEW theirs AS SELECT count(*) AS rows FROM metric_samples")
    refused(partitioned, "theirs depends on it; drop that")
    assert run(partitioned, "SELECT rows FROM theirs") == [(SAMPLES,)]
    run(partitioned, "DROP VIEW theirs")
    with store(partitioned) as backend:
        assert count(backend, "metric_samples") == SAMPLES


@pytest.mark.parametrize("read_only", [False, True])
def test_there_is_no_way_back_and_it_is_said(timescaledb_database: str, *, read_only: bool) -> None:
    with store(timescaledb_database) as backend:
        backend.write(everything(NOW))
    other = PostgreSQLBackend(timescaledb_database, read_only=read_only)
    with closing(other), pytest.raises(BackendRefusedError) as caught:
        other.start()
    message, tables = str(caught.value), ", ".join(FACT_TABLES)
    assert message.startswith(f"postgresql {other.location}: ")
    assert f"has made these tables hypertables: {tables};" in message
    assert "set backend: timescaledb" in message
    with store(timescaledb_database) as backend:
        assert count(backend) == 1


def test_nor_is_a_conversion_gone_on_with_by_another_backend(partitioned: str) -> None:
    run(partitioned, "CREATE VIEW theirs AS SELECT * FROM metric_histograms")
    refused(partitioned, "theirs depends on it")  # after system_metrics has become a hypertable
    with (
        closing(PostgreSQLBackend(partitioned)) as other,
        pytest.raises(
            BackendRefusedError,
            match="hypertables: system_metrics; they cannot be converted back",
        ),
    ):
        other.start()
    run(partitioned, "DROP VIEW theirs")
    with store(partitioned) as backend:
        assert [count(backend, table) for table in FACT_TABLES] == [5_003, 3, 3, 3, 3]


# ---- messages ----


def test_errors_name_the_backend(timescaledb_database: str) -> None:
    backend = timescaledb_backend(timescaledb_database)
    name = f"^timescaledb {backend.location}: "
    with pytest.raises(BackendRefusedError, match=f"{name}it is not open"):
        backend.fetch("SELECT 1")
    reader = timescaledb_backend(timescaledb_database, read_only=True)
    with pytest.raises(NothingStoredError, match=f"{name}there is nothing yet"):
        reader.start()
    with store(timescaledb_database) as backend:
        with pytest.raises(BackendRefusedError, match=f"{name}reading failed: relation"):
            backend.fetch("SELECT * FROM nowhere")
        with pytest.raises(BackendRefusedError, match=f"{name}reading failed: .* a semicolon"):
            backend.fetch("SELECT 1; SELECT 2")
        run(timescaledb_database, "INSERT INTO schema_migrations (version) VALUES (99)")
    refused(timescaledb_database, f"{name}its schema has version 99")


# ---- what is configured ----


@pytest.fixture
def configured(timescaledb_database: str) -> Callable[..., AbstractContextManager[Backend]]:
    """Starts the backend as a command would; settings by the names of their variables."""

    @contextmanager
    def start(*, serving: bool = True, **variables: str) -> Iterator[Backend]:
        environ = {"OPENFINOPS_BACKEND": "timescaledb", "OPENFINOPS_DB_URL": timescaledb_database}
        environ |= {f"OPENFINOPS_{name}".upper(): value for name, value in variables.items()}
        backend = backend_for(load(None, environ).exporter, serving=serving)
        with closing(backend):
            backend.start()
            yield backend

    return start


def chunk_intervals(connection: Connection) -> set[timedelta]:
    found = execute(
        connection,
        "SELECT time_interval FROM timescaledb_information.dimensions"
        " WHERE hypertable_name = ANY (%s)",
        (list(FACT_TABLES),),
    )
    return {interval for (interval,) in found}


def test_settings_reach_the_hypertables_and_a_command_that_passes_by_leaves_them(
    configured: Callable[..., AbstractContextManager[Backend]], connection: Connection
) -> None:
    with configured(
        enable_compression="true",
        compress_after_seconds="36h",
        chunk_interval_seconds="6h",
        retention_days="30",
        rollups="off",
    ):
        assert chunk_intervals(connection) == {timedelta(hours=6)}
        expected = {
            "policy_retention": timedelta(days=30),
            "policy_compression": timedelta(hours=36),
        }
        assert jobs(connection, "system_metrics") == expected
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly')") == [(None,)]
    with configured(serving=False, retention_days="7"):
        assert chunk_intervals(connection) == {timedelta(hours=6)}
        assert jobs(connection, "system_metrics") == expected
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly')") == [(None,)]
    with configured(rollups="on"):
        assert chunk_intervals(connection) == {timedelta(days=1)}
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly') IS NULL") == [
            (False,)
        ]
    with configured(rollups="off"):
        assert execute(connection, "SELECT to_regclass('metric_rollups_hourly') IS NULL") == [
            (False,)
        ]


@pytest.mark.parametrize(("mode", "compressed"), [("on", 1), ("off", 0)])
def test_direct_compress_is_as_it_is_configured(
    configured: Callable[..., AbstractContextManager[Backend]], mode: str, compressed: int
) -> None:
    with configured(enable_compression="true", direct_compress=mode, rollups="off") as backend:
        backend.write(Batch(points=flood(100)))
        assert backend.sizes().tables[0].compressed_partitions == compressed


def run(dsn: str, *statements: str) -> list[Any]:
    """Run statements on a connection of their own; the rows of the last."""
    with connected(dsn) as connection:
        return [execute(connection, statement) for statement in statements][-1]


def refused(dsn: str, words: str, *, read_only: bool = False) -> None:
    """Starting fails with these words."""
    backend = timescaledb_backend(dsn, read_only=read_only)
    with pytest.raises(BackendRefusedError, match=words):
        backend.start()
    backend.close()


def leftovers(dsn: str) -> list[str]:
    """Tables of points of the backend `postgresql` that are still there."""
    found = run(
        dsn,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relname ~ '^system_metrics_(p[0-9]{8}|partitioned)$' ORDER BY 1",
    )
    return [name for (name,) in found]
