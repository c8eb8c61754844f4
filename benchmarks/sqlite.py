"""SQLite: the backend's write, and gRPC to committed rows, against a bare executemany.

The baseline writes the same rows, as tuples built beforehand, into a file with the same migrations,
in transactions of the same size.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.decoded_batches import batches_of
from benchmarks.end_to_end import seconds_to_store
from benchmarks.measure import Result
from benchmarks.workload import SHAPES, steady_requests
from exporter.backends import open_backend
from exporter.model import Batch

# Long enough that the fixed cost of the first batch and the last flush is small.
_REQUESTS = 2_400
_SENDERS = 4
_POINTS = 1_000  # per request
_BATCH_SIZE = 20_000
_ROUNDS = 2

Rows = list[tuple[int, int, float, int]]


def run() -> list[Result]:
    """Measure the write alone, and from a client in another process to committed rows."""
    first, sent = steady_requests(SHAPES[0], _REQUESTS, senders=_SENDERS)
    batches = batches_of(sent, _BATCH_SIZE)
    points = len(sent) * _POINTS
    best = dict.fromkeys(("bare", "write", "whole", "durable"), float("inf"))
    for _ in range(_ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            best["bare"] = min(best["bare"], _bare(Path(folder) / "bare.db", batches))
            best["write"] = min(best["write"], _write(Path(folder) / "write.db", batches))
            best["whole"] = min(best["whole"], _end_to_end(Path(folder), first, sent, None))
            spool = Path(folder) / "requests.spool"
            best["durable"] = min(best["durable"], _end_to_end(Path(folder), first, sent, spool))
    return [
        Result("SQLite write", points, best["write"], "executemany", best["bare"], 0.8),
        Result(
            "gRPC to SQLite, spool off", points, best["whole"], "executemany", best["bare"], 0.7
        ),
        Result("gRPC to SQLite", points, best["durable"], "executemany", best["bare"], 0.7),
        Result("gRPC to SQLite", points, best["durable"], "spool off", best["whole"], 0.75),
    ]


def _bare(path: Path, batches: Sequence[Batch]) -> float:
    backend = open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0)
    backend.start()
    backend.close()
    groups = [_rows(batch) for batch in batches]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = FULL")
    began = time.perf_counter()
    for rows in groups:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            "INSERT INTO system_metrics (timestamp, series_id, value, start_micros) "
            "VALUES (?, ?, ?, ?)",
            rows,
        )
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


def _write(path: Path, batches: Sequence[Batch]) -> float:
    backend = open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0)
    backend.start()
    began = time.perf_counter()
    stored = sum(backend.write(batch).stored for batch in batches)
    seconds = time.perf_counter() - began
    backend.close()
    assert stored == sum(batch.entries for batch in batches) == _count(path)
    return seconds


def _end_to_end(
    folder: Path, first: Sequence[bytes], sent: Sequence[bytes], spool: Path | None
) -> float:
    path = folder / f"whole-{'off' if spool is None else 'on'}.db"
    seconds = seconds_to_store(
        open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0),
        sent,
        points=len(sent) * _POINTS,
        batch_size=_BATCH_SIZE,
        first=first,
        spool=spool,
    )
    assert _count(path) == (len(first) + len(sent)) * _POINTS
    return seconds


def _count(path: Path) -> int:
    connection = sqlite3.connect(path)
    (count,) = connection.execute("SELECT count(*) FROM system_metrics").fetchone()
    connection.close()
    return int(count)
