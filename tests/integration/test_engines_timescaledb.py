"""The tests' own TimescaleDB: what the exporter needs of it works."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Final

import numpy as np
import psycopg2
import pytest
from engines.databases import Databases
from engines.statements import Connection, copy_in, execute
from engines.timescaledb import WITHOUT_EXTENSION
from psycopg2 import errors

ROWS: Final = 100_000
SERIES: Final = 1_000


@pytest.fixture
def connection(timescaledb_database: str) -> Iterator[Connection]:
    with closing(psycopg2.connect(timescaledb_database)) as opened:
        opened.autocommit = True
        yield opened


def make_samples(connection: Connection) -> None:
    execute(
        connection, "CREATE TABLE samples (at timestamptz NOT NULL, series bigint, value float8)"
    )
    execute(connection, "SELECT create_hypertable('samples', by_range('at', INTERVAL '1 day'))")


def fill(connection: Connection, days: int = 3) -> None:
    execute(
        connection,
        "INSERT INTO samples SELECT timestamptz '2024-01-01Z' + i * INTERVAL '1 minute', i %% 5, i"
        " FROM generate_series(0, %s) i",
        [days * 1440 - 1],
    )


def sorted_rows() -> bytes:
    """100,000 rows of one day, sorted by series and time, as binary COPY takes them."""
    columns = [("fields", ">i2")]
    for name, kind in (("at", ">i8"), ("series", ">i8"), ("value", ">f8")):
        columns += [(f"{name}_length", ">i4"), (name, kind)]
    rows = np.zeros(ROWS, dtype=columns)
    rows["fields"] = 3
    rows["at_length"] = rows["series_length"] = rows["value_length"] = 8
    rows["series"] = np.repeat(np.arange(SERIES), ROWS // SERIES)
    rows["at"] = np.tile(np.arange(ROWS // SERIES), SERIES) * 60_000_000
    rows["value"] = np.arange(ROWS) % 997
    return b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0) + rows.tobytes() + b"\xff\xff"


def copy_sorted_rows(connection: Connection) -> None:
    assert copy_in(connection, "COPY samples FROM STDIN WITH BINARY", sorted_rows()) == ROWS


def chunks(connection: Connection) -> list[tuple[str, bool]]:
    return execute(
        connection,
        "SELECT range_start::date::text, is_compressed FROM timescaledb_information.chunks"
        " WHERE hypertable_name = 'samples' ORDER BY 1",
    )


def test_a_hypertable_has_chunks(connection: Connection) -> None:
    make_samples(connection)
    fill(connection)
    assert [day for day, _ in chunks(connection)] == ["2024-01-01", "2024-01-02", "2024-01-03"]
    question = "SELECT * FROM samples WHERE at >= '2024-01-03Z'"
    plan = "\n".join(line for (line,) in execute(connection, f"EXPLAIN {question}"))
    assert plan.count("_chunk") >= 1
    assert "Append" not in plan  # one chunk of three is left


def test_a_plain_table_is_converted_with_its_data(connection: Connection) -> None:
    execute(
        connection, "CREATE TABLE samples (at timestamptz NOT NULL, series bigint, value float8)"
    )
    fill(connection)
    options = "by_range('at', INTERVAL '1 day'), migrate_data => true"
    execute(connection, f"SELECT create_hypertable('samples', {options})")
    assert len(chunks(connection)) == 3
    assert execute(connection, "SELECT count(*) FROM ONLY samples") == [(0,)]
    assert execute(connection, "SELECT count(*) FROM samples") == [(3 * 1440,)]


def test_time_bucket(connection: Connection) -> None:
    make_samples(connection)
    fill(connection, days=1)
    rows = execute(
        connection,
        "SELECT time_bucket('6 hours', at)::text, count(*), last(value, at) FROM samples"
        " GROUP BY 1 ORDER BY 1 LIMIT 2",
    )
    assert rows == [("2024-01-01 00:00:00+00", 360, 359.0), ("2024-01-01 06:00:00+00", 360, 719.0)]


def test_the_columnstore_by_hand_and_by_policy(connection: Connection) -> None:
    make_samples(connection)
    fill(connection)
    execute(
        connection,
        "ALTER TABLE samples SET (timescaledb.enable_columnstore,"
        " timescaledb.segmentby = 'series', timescaledb.orderby = 'at')",
    )
    [first, *_] = execute(connection, "SELECT c::text FROM show_chunks('samples') c ORDER BY 1")
    execute(connection, f"CALL convert_to_columnstore('{first[0]}')")
    assert [done for _, done in chunks(connection)] == [True, False, False]
    run_policy(connection, "CALL add_columnstore_policy('samples', after => INTERVAL '1 day')")
    assert [done for _, done in chunks(connection)] == [True, True, True]
    assert execute(connection, "SELECT count(*), sum(value)::int FROM samples") == [(4320, 9329040)]
    [(total, compressed)] = execute(
        connection,
        "SELECT total_chunks, number_compressed_chunks"
        " FROM hypertable_columnstore_stats('samples')",
    )
    assert (total, compressed) == (3, 3)


def test_late_data_goes_into_a_compressed_chunk(connection: Connection) -> None:
    make_samples(connection)
    fill(connection, days=1)
    execute(connection, "ALTER TABLE samples SET (timescaledb.enable_columnstore)")
    execute(connection, "SELECT compress_chunk(c) FROM show_chunks('samples') c")
    assert copy_in(connection, "COPY samples FROM STDIN", b"2024-01-01 00:00:01Z\t7\t7\n") == 1
    assert execute(connection, "SELECT value FROM samples WHERE series = 7") == [(7.0,)]
    execute(connection, "DELETE FROM samples WHERE series = 3")
    assert execute(connection, "SELECT count(*) FROM samples") == [(1440 - 288 + 1,)]


def test_retention_by_policy_and_by_hand(connection: Connection) -> None:
    make_samples(connection)
    fill(connection)
    execute(connection, "INSERT INTO samples VALUES (now(), 1, 1)")
    execute(connection, "SELECT drop_chunks('samples', older_than => timestamptz '2024-01-02Z')")
    assert len(chunks(connection)) == 3
    run_policy(
        connection, "SELECT add_retention_policy('samples', drop_after => INTERVAL '30 days')"
    )
    assert execute(connection, "SELECT count(*) FROM samples") == [(1,)]


def test_a_continuous_aggregate_by_hand_and_by_policy(connection: Connection) -> None:
    make_samples(connection)
    fill(connection)
    execute(
        connection,
        "CREATE MATERIALIZED VIEW hourly WITH (timescaledb.continuous) AS"
        " SELECT time_bucket('1 hour', at) AS bucket, series, avg(value) AS mean, count(*)"
        " FROM samples GROUP BY 1, 2 WITH NO DATA",
    )
    assert execute(connection, "SELECT count(*) FROM hourly") == [(0,)]
    execute(connection, "CALL refresh_continuous_aggregate('hourly', NULL, '2024-01-02Z')")
    assert execute(connection, "SELECT count(*), sum(count)::int FROM hourly") == [(24 * 5, 1440)]
    run_policy(
        connection,
        "SELECT add_continuous_aggregate_policy('hourly', start_offset => NULL,"
        " end_offset => INTERVAL '1 hour', schedule_interval => INTERVAL '1 hour')",
    )
    assert execute(connection, "SELECT count(*), sum(count)::int FROM hourly") == [(72 * 5, 4320)]


def run_policy(connection: Connection, statement: str) -> None:
    """Add a policy and run its job, as the background workers would."""
    execute(connection, statement)
    [(job,)] = execute(connection, "SELECT max(job_id) FROM timescaledb_information.jobs")
    execute(connection, f"CALL run_job({job})")


@pytest.mark.parametrize("direct", ["off", "on"])
def test_copy_of_100k_rows_with_and_without_direct_compress(
    connection: Connection, direct: str
) -> None:
    make_samples(connection)
    execute(connection, "DROP INDEX samples_at_idx")  # with a unique index it would be off silently
    execute(
        connection,
        "ALTER TABLE samples SET (timescaledb.enable_columnstore,"
        " timescaledb.segmentby = '', timescaledb.orderby = 'series, at')",
    )
    execute(
        connection,
        f"SET timescaledb.enable_direct_compress_copy = {direct};"
        f" SET timescaledb.enable_direct_compress_copy_client_sorted = {direct}",
    )
    copy_sorted_rows(connection)
    assert [done for _, done in chunks(connection)] == [direct == "on"]
    assert execute(connection, "SELECT count(*), count(DISTINCT series) FROM samples") == [
        (ROWS, SERIES)
    ]
    [(size,)] = execute(connection, "SELECT hypertable_size('samples')")
    assert size < ROWS * 15 if direct == "on" else size > ROWS * 40


def test_the_apache_license_has_hypertables_and_no_more(timescaledb_apache_database: str) -> None:
    with closing(psycopg2.connect(timescaledb_apache_database)) as connection:
        connection.autocommit = True
        assert execute(connection, "SHOW timescaledb.license") == [("apache",)]
        make_samples(connection)
        fill(connection)
        for statement in (
            "ALTER TABLE samples SET (timescaledb.enable_columnstore)",
            "SELECT add_retention_policy('samples', drop_after => INTERVAL '1 day')",
        ):
            with pytest.raises(errors.FeatureNotSupported, match='under the current "apache"'):
                execute(connection, statement)
        execute(
            connection, "SELECT drop_chunks('samples', older_than => timestamptz '2024-01-02Z')"
        )
        assert len(chunks(connection)) == 2


def test_a_database_without_the_extension_can_have_it_made(
    timescaledb_server: Databases,
) -> None:
    with (
        timescaledb_server.fresh(WITHOUT_EXTENSION) as dsn,
        closing(psycopg2.connect(dsn)) as connection,
    ):
        connection.autocommit = True
        with pytest.raises(errors.UndefinedFunction):
            execute(connection, "SELECT create_hypertable('samples', 'at')")
        execute(connection, "CREATE EXTENSION timescaledb")
        make_samples(connection)
        fill(connection)
        assert len(chunks(connection)) == 3


def test_a_fresh_database_takes_well_under_a_second(timescaledb_server: Databases) -> None:
    with timescaledb_server.fresh() as dsn, closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        make_samples(connection)
        copy_sorted_rows(connection)
    start = time.monotonic()
    with timescaledb_server.fresh() as dsn, closing(psycopg2.connect(dsn)) as connection:
        assert execute(connection, "SELECT to_regclass('samples')") == [(None,)]
        assert time.monotonic() - start < 1.0
