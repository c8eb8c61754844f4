"""Merging decoded requests into one batch, against a bare copy of the columns."""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Result, side_by_side
from benchmarks.workload import SHAPES, requests
from exporter.pipeline.queue import Batcher
from exporter.series_cache import SeriesCache
from exporter.wire import decode

_REQUESTS = 60


def run() -> list[Result]:
    """Merge sixty requests into one batch."""
    series = SeriesCache()
    batches = [decode(data, series).batch for data in requests(SHAPES[0], _REQUESTS)]
    points = sum(batch.entries for batch in batches)

    def ours() -> int:
        batcher = Batcher(batch_size=points, batch_interval_seconds=60.0)
        for batch in batches:
            batcher.add(batch, 0.0)
        assert batcher.due_in_seconds(0.0) == 0.0
        drained = batcher.drain()
        return drained.entries if drained else 0

    def baseline() -> int:
        names = ("series_id", "time_unix_nano", "start_time_unix_nano", "value", "recorded")
        columns = [np.concatenate([getattr(b.points, name) for b in batches]) for name in names]
        return len(columns[0])

    assert ours() == baseline() == points
    seconds, baseline_seconds = side_by_side(ours, baseline, rounds=20)
    return [Result("batch", points, seconds, "numpy.concatenate", baseline_seconds, 0.5)]
