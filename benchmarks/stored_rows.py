"""Seeded rows for the query benchmarks: 1,000 series over ten days."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from exporter.model import Batch, Int64Array, Points, Series

METRICS: Final = 100
NODES: Final = 10
CLUSTERS: Final = 5
SERIES: Final = METRICS * NODES
_DAYS: Final = 10
# 20:00 UTC, so that the last day is a partition that still receives rows.
END_UNIX_NANO: Final = 1_699_992_000_000_000_000
_NANO_PER_DAY: Final = 86_400_000_000_000
_TIMES_OF_A_BATCH: Final = 10
_RESOURCE: Final = '{"service.name":"checkout"}'
_SCOPE: Final = '{"attributes":{},"name":"benchmark","version":""}'


def series_ids() -> Int64Array:
    """One id for each series, spread over 64 bits like hashes."""
    return np.random.default_rng(7).integers(-(2**63), 2**63 - 1, SERIES, np.int64)


def batches(rows: int) -> Iterator[Batch]:
    """All rows in the order of time: each series once per step, ten steps per batch.

    Args:
        rows: the number of rows, a multiple of 10,000.
    """
    random = np.random.default_rng(8)
    ids = series_ids()
    steps = rows // SERIES
    step_nano = _DAYS * _NANO_PER_DAY // steps
    for first in range(0, steps, _TIMES_OF_A_BATCH):
        behind = steps - np.arange(first, first + _TIMES_OF_A_BATCH)
        times = np.repeat(END_UNIX_NANO - behind * step_nano, SERIES)
        points = Points(
            series_id=np.tile(ids, _TIMES_OF_A_BATCH),
            time_unix_nano=times,
            start_time_unix_nano=np.full_like(times, END_UNIX_NANO - _DAYS * _NANO_PER_DAY),
            value=np.round(random.random(len(times)) * 100, 1),
            recorded=np.ones(len(times), bool),
        )
        yield Batch(new_series=_definitions(ids) if first == 0 else (), points=points)


def _definitions(ids: Int64Array) -> tuple[Series, ...]:
    return tuple(
        Series(
            series_id=int(series_id),
            metric_name=f"metric.{at // NODES}",
            metric_type="gauge",
            unit="1",
            description="",
            temporality=None,
            is_monotonic=None,
            cluster_id=f"cluster-{at % CLUSTERS}",
            node_id=f"node-{at % NODES}",
            service_name="checkout",
            resource=_RESOURCE,
            resource_schema_url="",
            scope=_SCOPE,
            scope_schema_url="",
            attributes=f'{{"at":"{at}"}}',
        )
        for at, series_id in enumerate(ids)
    )
