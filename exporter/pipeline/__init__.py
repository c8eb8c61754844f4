"""From request bytes to stored rows: accept, make durable, queue, write, retry.

pipeline           `Pipeline`: start, submit, flush, shutdown, stats
intake             takes a request on the caller's thread: decode, make durable, enqueue
request_decoder    the bytes of a request to a batch with its costs
durability         keeps a request until it is stored: in the spool, or in memory only
group_commit       requests that arrive together share one sync to disk
in_flight_counter  how many threads are within a block
memory_limit       the memory limit: when requests wait in the spool, and when they are refused
queue              accepted batches in order, and when a batch is due
replay             opens backend and spool, and reads requests back from the spool
writer             the writer thread: one batch after the other to the backend, with retries
batch_write        one batch: attempts, refused rows to the dead letters, counters
maintenance        deletes expired rows and compacts the spool

`exporter.assembly.pipeline_for` composes a pipeline from these parts.
"""

from exporter.pipeline.durability import (
    Durability,
    MemoryDurability,
    MonotonicWallClock,
    SpoolDurability,
)
from exporter.pipeline.intake import Intake
from exporter.pipeline.maintenance import Maintenance, Retention
from exporter.pipeline.memory_limit import IDLE_BYTES, MemoryLimit
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batcher, Queue
from exporter.pipeline.replay import Replay, Startup
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.pipeline.writer import Writer

__all__ = [
    "IDLE_BYTES",
    "Batcher",
    "Durability",
    "Intake",
    "Maintenance",
    "MemoryDurability",
    "MemoryLimit",
    "MonotonicWallClock",
    "Pipeline",
    "Queue",
    "Replay",
    "RequestDecoder",
    "Retention",
    "SpoolDurability",
    "Startup",
    "Writer",
]
