"""SQLite: the backend's write, and the whole way over gRPC, against a bare executemany.

The baseline writes the same rows into the same table of a file made by the same migrations, as
tuples that are ready beforehand, in transactions of the same size.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
import time
from pathlib import Path

import grpc

from benchmarks.measure import Result
from benchmarks.workload import SHAPES, requests
from exporter.backends import open_backend
from exporter.batch import Batcher
from exporter.intern import SeriesCache
from exporter.model import Batch
from exporter.pipeline import Pipeline
from exporter.receiver import Receiver
from exporter.wire import decode

__all__ = ["run"]

_REQUESTS = 600
_SENDERS = 4
_BATCH_SIZE = 20_000
_IN_FLIGHT = 8
_EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_ROUNDS = 3

Rows = list[tuple[int, int, float, int]]


def run() -> list[Result]:
    """The write alone, and from a client in another process to committed rows."""
    sent = requests(SHAPES[0], _REQUESTS, series_sets=_SENDERS)
    series = SeriesCache()
    batches = [decode(data, series).batch for data in sent]
    points = sum(batch.entries for batch in batches)
    best = {"bare": float("inf"), "write": float("inf"), "whole": float("inf")}
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            best["bare"] = min(best["bare"], _bare(Path(folder) / "bare.db", batches))
            best["write"] = min(best["write"], _write(Path(folder) / "write.db", batches))
            best["whole"] = min(best["whole"], _whole_way(Path(folder) / "whole.db", sent, points))
    return [
        Result("SQLite write", points, best["write"], "executemany", best["bare"], 0.8),
        Result("gRPC to SQLite", points, best["whole"], "executemany", best["bare"], 0.7),
    ]


def _merged(batches: list[Batch]) -> list[Batch]:
    batcher = Batcher(batch_size=_BATCH_SIZE, batch_interval_seconds=60.0)
    merged = []
    for batch in batches:
        batcher.add(batch, 0.0)
        if batcher.due_in_seconds(0.0) == 0.0 and (drained := batcher.drain()):
            merged.append(drained)
    rest = batcher.drain()
    return [*merged, rest] if rest else merged


def _bare(path: Path, batches: list[Batch]) -> float:
    backend = open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0)
    backend.start()
    backend.close()
    groups = [_rows(batch) for batch in _merged(batches)]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    began = time.perf_counter()
    for rows in groups:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO system_metrics VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    assert _count(path) == sum(map(len, groups))
    return seconds


def _rows(batch: Batch) -> Rows:
    points = batch.points
    columns = (
        (points.time_unix_nano // 1000).tolist(),
        points.series_id.tolist(),
        points.value.tolist(),
        (points.start_time_unix_nano // 1000).tolist(),
    )
    return sorted(zip(*columns, strict=True))


def _write(path: Path, batches: list[Batch]) -> float:
    backend = open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0)
    merged = _merged(batches)
    backend.start()
    began = time.perf_counter()
    stored = sum(backend.write(batch).stored for batch in merged)
    seconds = time.perf_counter() - began
    backend.close()
    assert stored == sum(batch.entries for batch in merged) == _count(path)
    return seconds


def _whole_way(path: Path, sent: list[bytes], points: int) -> float:
    pipeline = Pipeline(
        open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0), batch_size=_BATCH_SIZE
    )
    receiver = Receiver(pipeline.submit, endpoint="127.0.0.1:0")
    pipeline.start()
    address = receiver.start()
    spawn = multiprocessing.get_context("spawn")
    ready, go = spawn.Event(), spawn.Event()
    client = spawn.Process(target=_send_all, args=(address, sent, ready, go))
    client.start()
    ready.wait()
    began = time.perf_counter()
    go.set()
    client.join()
    assert pipeline.flush(60.0)
    seconds = time.perf_counter() - began
    receiver.shutdown()
    assert pipeline.shutdown()
    assert client.exitcode == 0
    assert _count(path) == points
    return seconds


def _send_all(address: str, sent: list[bytes], ready: object, go: object) -> None:
    with grpc.insecure_channel(address) as channel:
        export = channel.unary_unary(_EXPORT)
        grpc.channel_ready_future(channel).result(10)
        ready.set()  # type: ignore[attr-defined]
        go.wait()  # type: ignore[attr-defined]
        waiting = [export.future(data) for data in sent[:_IN_FLIGHT]]
        for at in range(len(sent)):
            assert waiting[at].result() == b""
            if at + _IN_FLIGHT < len(sent):
                waiting.append(export.future(sent[at + _IN_FLIGHT]))


def _count(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM system_metrics").fetchone()
    connection.close()
    return int(count)
