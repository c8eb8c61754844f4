"""Replay leaves out requests that are synced and still on their way into the queue."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from exporter.costs.cost_deriver import CostDeriver
from exporter.pipeline.queue import Batcher, Queue
from exporter.pipeline.replay import Replay
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.series_cache import SeriesCache
from exporter.spool import Entry, Spool, compress
from exporter.stats import Counters
from exporter.wire import AgeLimits

NOW = 1_700_000_000_000_000_000


def entry(sequence: int) -> Entry:
    message = ExportMetricsServiceRequest()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="load")
    metric.gauge.data_points.add(time_unix_nano=NOW + sequence, as_double=sequence)
    data = compress(message.SerializeToString())
    digest = sequence.to_bytes(16, "big")
    return Entry(sequence, NOW, 0, 2**63 - 1, 1, digest, data)


def test_a_request_that_has_not_reached_the_queue_is_not_replayed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_bytes=10**9, retry_window_seconds=60.0)
    spool.start()
    batcher = Batcher(batch_size=100, batch_interval_seconds=60.0)
    queue = Queue(batcher, max_entries=100, spooled=True)
    series = SeriesCache()
    decoder = RequestDecoder(
        series,
        CostDeriver((), is_cached=series.has_series),
        cluster_id_attributes=(),
        node_id_attributes=(),
    )
    replay = Replay(spool, queue, decoder, Counters(), AgeLimits(None, None))
    spool.append([entry(1), entry(2)])
    replay.begin(0)
    spool.append([entry(3)])  # synced; its thread has not put it into the queue yet
    replay.refill()
    assert queue.replay_after is None
    batch = batcher.drain()
    assert batch is not None
    assert batch.points.value.tolist() == [1.0, 2.0]
    spool.close()
