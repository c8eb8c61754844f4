"""A PostgreSQL with a full disk: the messages, and each batch is stored once in the end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from engines.errors import EngineError
from engines.postgresql import PostgreSQLServer
from kit.backends.postgresql import run
from kit.backends.samples import NOW, SECOND, flood, series
from kit.backends.stored_rows import count
from kit.pipelines import build_pipeline, request, spool_beside, wait_until
from kit.pipelines import started as started_pipeline

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.errors import BackendUnavailableError
from exporter.model import Batch, Watermark

POINTS = 5_000
FULL_MESSAGE = (
    r"storing a batch failed: .*No space left on device.*\[53100\]; the server's disk is full"
)

# The session that panics may report that, or end without a message.
PANIC_MESSAGE = r"No space left on device|\[08006\]; .*its log says why"


@contextmanager
def started(server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    with ExitStack() as stack:
        try:
            stack.enter_context(server)
        except EngineError as error:
            if "mounting a volume failed" in str(error):
                pytest.skip(str(error))
            raise
        yield server


@pytest.fixture(scope="module")
def small_tablespace(pytestconfig: pytest.Config) -> Iterator[PostgreSQLServer]:
    """A server whose tablespace `small` has 24 MiB."""
    major = pytestconfig.getoption("--pg-major")
    with started(PostgreSQLServer(major=major, volume_mib=24)) as server:
        run(server.dsn, f"CREATE TABLESPACE small LOCATION '{server.volume.folder}'")
        yield server


@pytest.fixture
def dsn(small_tablespace: PostgreSQLServer) -> Iterator[str]:
    """A database whose tables go into the tablespace `small`."""
    with small_tablespace.databases.fresh() as made:
        yield f"{made}?options=-cdefault_tablespace%3Dsmall"


def watermarked(sequence: int) -> Batch:
    return Batch(
        points=flood(POINTS, time=NOW + sequence * 1_000 * SECOND),
        new_series=(series(sequence),),
        watermark=Watermark("receiver-1", sequence),
    )


def write_until_full(backend: PostgreSQLBackend, first: int) -> tuple[int, str]:
    """The sequence of the first batch that failed, and the message."""
    for sequence in range(first, first + 1_000):
        try:
            backend.write(watermarked(sequence))
        except BackendUnavailableError as error:
            return sequence, str(error)
    raise AssertionError("it was never full")


def check_stored_once(backend: PostgreSQLBackend, batches: int) -> None:
    rows = "(SELECT DISTINCT timestamp, series_id FROM system_metrics) AS points"
    assert count(backend) == count(backend, rows) == batches * POINTS
    assert count(backend, "metric_series") == batches
    assert backend.last_sequence("receiver-1") == batches


def test_a_full_tablespace_accepts_the_batches_when_space_is_freed(
    small_tablespace: PostgreSQLServer, dsn: str
) -> None:
    with closing(PostgreSQLBackend(dsn)) as backend:
        backend.start()
        backend.write(watermarked(1))
        ballast = small_tablespace.volume.fill(leaving_bytes=2_000_000)
        refused, message = write_until_full(backend, 2)
        assert re.search(FULL_MESSAGE, message)
        with pytest.raises(BackendUnavailableError, match=FULL_MESSAGE):
            backend.write(watermarked(refused))
        check_stored_once(backend, refused - 1)
        ballast.unlink()
        for sequence in range(refused, refused + 3):
            assert not backend.write(watermarked(sequence)).already_stored
        assert backend.write(watermarked(refused)).already_stored
        check_stored_once(backend, refused + 2)


def test_the_pipeline_retries_until_space_is_freed_and_stores_everything_once(
    small_tablespace: PostgreSQLServer, dsn: str, tmp_path: Path
) -> None:
    spool = spool_beside(tmp_path / "store")
    pipeline = started_pipeline(build_pipeline(PostgreSQLBackend(dsn), spool, batch_size=POINTS))
    ballast = small_tablespace.volume.fill(leaving_bytes=1_000_000)
    for number in range(10):
        pipeline.submit(request(POINTS, number * POINTS / 1_000 - 3_600))
    wait_until(lambda: pipeline.stats().write_retries >= 2, 60)
    assert pipeline.stats().is_balanced
    assert pipeline.stats().points_queued > 0
    ballast.unlink()
    assert pipeline.flush(60)
    now = pipeline.stats()
    assert (now.points_stored, now.points_dead, now.points_queued) == (10 * POINTS, 0, 0)
    assert pipeline.shutdown()
    question = "SELECT count(*), count(DISTINCT timestamp) FROM system_metrics"
    assert run(dsn, question) == [(10 * POINTS, 10 * POINTS)]


@pytest.fixture
def small_wal(pytestconfig: pytest.Config) -> Iterator[PostgreSQLServer]:
    """A server whose write-ahead log has 24 MiB."""
    server = PostgreSQLServer(
        major=pytestconfig.getoption("--pg-major"),
        volume_mib=24,
        wal_on_volume=True,
        settings={"max_wal_size": "8MB", "min_wal_size": "2MB"},
    )
    with started(server):
        yield server


def test_a_panic_because_of_a_full_log_loses_and_duplicates_nothing(
    small_wal: PostgreSQLServer,
) -> None:
    with (
        small_wal.databases.fresh() as dsn,
        closing(PostgreSQLBackend(dsn)) as backend,
    ):
        backend.start()
        backend.write(watermarked(1))
        ballast = small_wal.volume.fill()
        refused, message = write_until_full(backend, 2)
        assert re.search(PANIC_MESSAGE, message)
        assert re.search(r"PANIC:.*No space left on device", small_wal.log)
        with pytest.raises(BackendUnavailableError, match="its log says why"):
            backend.write(watermarked(refused))
        ballast.unlink()
        write_until_stored(backend, watermarked(refused), small_wal)
        backend.write(watermarked(refused + 1))
        check_stored_once(backend, refused + 1)


def write_until_stored(backend: PostgreSQLBackend, batch: Batch, server: PostgreSQLServer) -> None:
    # The server recovers by itself, or has no space for that either and must be started.
    deadline = time.monotonic() + 60
    while True:
        try:
            backend.write(batch)
        except BackendUnavailableError:
            assert time.monotonic() < deadline, "it was never stored"
            if not server.is_running:
                server.start()
            time.sleep(0.05)
        else:
            return
