"""What is read back from the spool beside requests that are on their way into the queue."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from exporter.costs.cost_deriver import CostDeriver
from exporter.intern import SeriesCache
from exporter.pipeline.batcher import Batcher
from exporter.pipeline.queue import Queue
from exporter.pipeline.replay import Replay
from exporter.pipeline.request_decoder import RequestDecoder
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


def test_a_request_that_is_not_in_the_queue_yet_is_not_read_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", max_bytes=10**9, retry_window_seconds=60.0)
    spool.start()
    queue = Queue(
        Batcher(batch_size=100, batch_interval_seconds=60.0), max_entries=100, spooled=True
    )
    series = SeriesCache()
    decoder = RequestDecoder(
        series,
        CostDeriver((), is_cached=series.knows),
        cluster_id_attributes=(),
        node_id_attributes=(),
    )
    replay = Replay(spool, queue, decoder, Counters(), AgeLimits(None, None))
    spool.append([entry(1), entry(2)])
    replay.open(0)
    spool.append([entry(3)])  # acknowledged, and its thread has yet to come to the queue
    replay.refill()
    assert queue.behind is None
    batch = queue.drain()
    assert batch is not None
    assert batch.points.value.tolist() == [1.0, 2.0]
    spool.close()
