"""Requests decoded and merged beforehand, in the batches of the pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.model import Batch
from exporter.pipeline.queue import Batcher
from exporter.series_cache import SeriesCache
from exporter.wire import decode


def batches_of(sent: Iterable[bytes], batch_size: int) -> Sequence[Batch]:
    """The requests as batches of `batch_size` points, plus at most the points of one request."""
    series = SeriesCache()
    batcher = Batcher(batch_size=batch_size, batch_interval_seconds=60.0)
    batches = []
    for data in sent:
        batcher.add(decode(data, series).batch, 0.0)
        if batcher.due_in_seconds(0.0) == 0.0 and (due := batcher.drain()):
            batches.append(due)
    rest = batcher.drain()
    return [*batches, rest] if rest else batches
