"""From a client in another process over gRPC to committed rows, for any backend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.client import seconds_to_send
from exporter.assembly import pipeline_for
from exporter.backends.base import Backend
from exporter.config import load
from exporter.receiver import Receiver, workers_for
from exporter.spool import Spool

_SPOOL_BYTES: Final = 1 << 32
_TIMEOUT_SECONDS: Final = 120.0


def seconds_to_store(
    backend: Backend,
    sent: Sequence[bytes],
    *,
    points: int,
    batch_size: int,
    first: Sequence[bytes] = (),
    spool: Path | None = None,
) -> float:
    """Seconds from the first request to the last commit; the backend is started and closed.

    Args:
        backend: stores the rows.
        sent: serialized requests; all must be accepted.
        points: their data points, and the bound of the queue.
        batch_size: data points that make a batch due.
        first: requests that are stored before the measured time, in addition to `points`.
        spool: the file that requests are synced to before they are acknowledged; None to
            acknowledge what is in memory only.
    """
    durable = (
        None if spool is None else Spool(spool, max_bytes=_SPOOL_BYTES, retry_window_seconds=3600.0)
    )
    defaults = load(None, {}).exporter
    settings = replace(defaults, batch_size=batch_size, max_queued_entries=points)
    pipeline = pipeline_for(settings, backend, durable, memory_limited=False, deletes_expired=False)
    pipeline.start()
    workers = workers_for(None if durable is None else durable.measure_sync_seconds())
    receiver = Receiver(pipeline.submit, endpoint="127.0.0.1:0", workers=workers)
    for data in first:
        pipeline.submit(data)
    assert pipeline.flush(_TIMEOUT_SECONDS)
    before = pipeline.stats().points_stored
    address = receiver.start()

    def finish() -> None:
        assert pipeline.flush(_TIMEOUT_SECONDS)

    seconds = seconds_to_send(address, sent, finish=finish)
    receiver.shutdown()
    assert pipeline.shutdown()
    assert pipeline.stats().points_stored == before + points
    return seconds
