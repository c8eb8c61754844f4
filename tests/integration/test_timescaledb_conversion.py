"""From the backend `postgresql` to `timescaledb`: partitions become hypertables."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import pytest
from kit.backends.postgresql import run
from kit.backends.samples import NOW, SECOND, flood
from kit.backends.stored_rows import FACT_TABLES, count
from kit.backends.timescaledb import (
    COMPRESSING,
    assert_start_fails,
    fact_sizes,
    points_size,
    row_of_every_table,
    started_timescaledb,
)

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.errors import BackendRefusedError
from exporter.model import Batch

DAY: Final = 86_400 * SECOND


SAMPLES: Final = 3 + 50  # points of the only series with a definition


ALL_POINTS: Final = "SELECT * FROM system_metrics ORDER BY timestamp, series_id"


@pytest.fixture
def partitioned(timescaledb_database: str) -> str:
    """A database of the backend `postgresql` with three days in every table."""
    backend = PostgreSQLBackend(timescaledb_database)
    backend.start()
    for days in range(3):
        backend.write(row_of_every_table(NOW + days * DAY))
    backend.write(Batch(points=flood(5_000, time=NOW + DAY + SECOND)))
    backend.close()
    return timescaledb_database


def test_partitions_are_converted_with_all_rows_and_privileges(partitioned: str) -> None:
    before = run(partitioned, "CREATE ROLE dashboard", ALL_POINTS)
    try:
        run(partitioned, "GRANT SELECT ON system_metrics, metric_samples TO dashboard")
        with started_timescaledb(partitioned, COMPRESSING) as backend:
            assert {table.partitions for table in fact_sizes(backend)} == {3}
            assert [count(backend, table) for table in FACT_TABLES] == [5_003, 3, 3, 3, 3]
            assert count(backend, "metric_samples") == SAMPLES
            backend.write(row_of_every_table(NOW + 9 * DAY))
            assert points_size(backend).partitions == 4
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


def test_an_interrupted_conversion_continues(partitioned: str) -> None:
    oldest = "system_metrics_p20231114"  # moved last
    before = run(
        partitioned,
        f"CREATE VIEW theirs AS SELECT * FROM {oldest}",  # noqa: S608
        ALL_POINTS,
    )
    assert_start_fails(partitioned, "other objects depend on it")
    assert leftovers(partitioned) == [oldest, "system_metrics_partitioned"]
    run(
        partitioned,
        "DROP VIEW theirs",
        "CREATE FUNCTION pass_over() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER pass_over BEFORE INSERT ON system_metrics"
        " FOR EACH ROW EXECUTE FUNCTION pass_over()",
    )
    assert_start_fails(partitioned, "would turn 1 rows into 0")
    assert leftovers(partitioned) == [oldest, "system_metrics_partitioned"]
    run(partitioned, "DROP TRIGGER pass_over ON system_metrics")
    with started_timescaledb(partitioned):
        assert run(partitioned, ALL_POINTS) == before
    assert leftovers(partitioned) == []


def test_a_view_of_the_user_stops_the_conversion(partitioned: str) -> None:
    run(partitioned, "CREATE VIEW theirs AS SELECT count(*) AS rows FROM metric_samples")
    assert_start_fails(partitioned, "theirs depends on it; drop that")
    assert run(partitioned, "SELECT rows FROM theirs") == [(SAMPLES,)]
    run(partitioned, "DROP VIEW theirs")
    with started_timescaledb(partitioned) as backend:
        assert count(backend, "metric_samples") == SAMPLES


@pytest.mark.parametrize("read_only", [False, True])
def test_the_backend_postgresql_refuses_hypertables(
    timescaledb_database: str, *, read_only: bool
) -> None:
    with started_timescaledb(timescaledb_database) as backend:
        backend.write(row_of_every_table(NOW))
    other = PostgreSQLBackend(timescaledb_database, read_only=read_only)
    with closing(other), pytest.raises(BackendRefusedError) as caught:
        other.start()
    message, tables = str(caught.value), ", ".join(FACT_TABLES)
    assert message.startswith(f"postgresql {other.location}: ")
    assert f"has made these tables hypertables: {tables};" in message
    assert "set backend: timescaledb" in message
    with started_timescaledb(timescaledb_database) as backend:
        assert count(backend) == 1


def test_the_backend_postgresql_refuses_an_unfinished_conversion(partitioned: str) -> None:
    run(partitioned, "CREATE VIEW theirs AS SELECT * FROM metric_histograms")
    # The conversion of system_metrics has succeeded before.
    assert_start_fails(partitioned, "theirs depends on it")
    with (
        closing(PostgreSQLBackend(partitioned)) as other,
        pytest.raises(
            BackendRefusedError,
            match="hypertables: system_metrics; they cannot be converted back",
        ),
    ):
        other.start()
    run(partitioned, "DROP VIEW theirs")
    with started_timescaledb(partitioned) as backend:
        assert [count(backend, table) for table in FACT_TABLES] == [5_003, 3, 3, 3, 3]


def leftovers(dsn: str) -> list[str]:
    """The remaining partitions of system_metrics, and its old parent."""
    found = run(
        dsn,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p')"
        " AND relname ~ '^system_metrics_(p[0-9]{8}|partitioned)$' ORDER BY 1",
    )
    return [name for (name,) in found]
