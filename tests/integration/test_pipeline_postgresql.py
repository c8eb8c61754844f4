"""The pipeline into PostgreSQL: connections that break during COMMIT, and altered texts."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from kit.backends.postgresql import run
from kit.backends.proxy import Break, proxied
from kit.pipelines import NEVER_SECONDS, build_pipeline, request, spool_beside, started
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from psycopg2.extensions import make_dsn

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.errors import BackendRefusedError, BackendUnavailableError
from exporter.pipeline import Pipeline


def spooled_pipeline(dsn: str, folder: Path) -> Pipeline:
    spool = spool_beside(folder / "store")
    return build_pipeline(PostgreSQLBackend(dsn), spool, batch_interval_seconds=NEVER_SECONDS)


@pytest.mark.parametrize("how", Break)
def test_refused_rows_are_counted_once_if_the_outcome_of_the_commit_is_unknown(
    postgresql_database: str, tmp_path: Path, how: Break
) -> None:
    with proxied(postgresql_database) as (proxy, dsn):
        pipeline = started(spooled_pipeline(dsn, tmp_path))
        pipeline.submit(request(2))  # makes the partition, in a transaction of its own
        assert pipeline.flush()
        run(
            postgresql_database,
            "ALTER TABLE system_metrics ADD CONSTRAINT not_this CHECK (value <> 3.0) NOT VALID",
        )
        proxy.next_commit = how
        pipeline.submit(request(10, seconds=1))
        assert pipeline.flush(30.0)
        assert proxy.next_commit is None
        now = pipeline.stats()
        assert (now.points_stored, now.points_dead, now.points_queued) == (11, 1, 0)
        assert now.write_retries >= 1
        assert now.batches_stored_before == (how is not Break.BEFORE)
        assert now.is_balanced
        assert pipeline.shutdown()
    assert run(postgresql_database, "SELECT count(*) FROM system_metrics") == [(11,)]
    assert run(postgresql_database, "SELECT kind FROM dead_letters") == [("point",)]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"port": "1"}, "check that the server runs"),
        ({"host": "no-such-host.invalid"}, "check that the server runs"),
        ({"target_session_attrs": "standby"}, "check that the server runs"),
        ({"user": "with_limit", "password": "x"}, "raise max_connections"),
    ],
    ids=["refused", "unknown host", "no standby", "too many"],
)
def test_temporary_failures_are_retried(
    postgresql_database: str, tmp_path: Path, parts: dict[str, str], words: str
) -> None:
    run(postgresql_database, "CREATE ROLE with_limit LOGIN PASSWORD 'x' CONNECTION LIMIT 0")
    try:
        pipeline = started(spooled_pipeline(make_dsn(postgresql_database, **parts), tmp_path))
        pipeline.submit(request(1))
        with pytest.raises(BackendUnavailableError, match=words):
            pipeline.require_backend()
        assert not pipeline.shutdown()
    finally:
        run(postgresql_database, "DROP ROLE with_limit")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"password": "wrong"}, "correct the password"),
        ({"dbname": "no_such_database"}, "create the database"),
        ({"user": "nobody_of_this_name"}, "correct the password"),  # the server does not say which
        ({"sslmode": "require"}, "correct connection_string"),
        ({"sslmode": "bogus"}, "correct connection_string"),
        ({"port": "99999999"}, "correct connection_string"),
        ({"connect_timeout": "soon"}, "correct connection_string"),
        ({"options": "-cno_such_setting=1"}, "correct connection_string"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_permanent_errors_end_the_start(
    postgresql_database: str, tmp_path: Path, parts: dict[str, str], words: str
) -> None:
    pipeline = spooled_pipeline(make_dsn(postgresql_database, **parts), tmp_path)
    with pytest.raises(BackendRefusedError, match=words):
        pipeline.start()
    assert not pipeline.is_accepting
    assert pipeline.shutdown()


def named_request(name: str, node: str) -> bytes:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
    point = metric.gauge.data_points.add(time_unix_nano=time.time_ns(), as_double=1.0)
    point.attributes.add(key="node").value.string_value = node
    return message.SerializeToString()


def test_texts_with_nul_are_counted(postgresql_database: str) -> None:
    pipeline = started(build_pipeline(PostgreSQLBackend(postgresql_database), batch_size=1))
    pipeline.submit(named_request("a", "b"))
    assert pipeline.flush()
    assert pipeline.stats().texts_altered == 0
    for _ in range(2):  # the second has no definition
        pipeline.submit(named_request("a\0", "b\0"))
        assert pipeline.flush()
    assert pipeline.stats().texts_altered == 2  # a name, and attributes
    assert " texts_altered=2 " in str(pipeline.stats())
    assert pipeline.shutdown()
