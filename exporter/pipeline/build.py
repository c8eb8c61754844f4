"""Composes a pipeline from its parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from exporter.backends.base import Backend
from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.gen_ai import TokenPrice, TokenPrices
from exporter.costs.rules import CostRule
from exporter.intern import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, SeriesCache
from exporter.pipeline.durability import (
    Durability,
    MemoryDurability,
    SpoolDurability,
    SteadyClock,
)
from exporter.pipeline.intake import Intake
from exporter.pipeline.maintenance import Maintenance
from exporter.pipeline.memory import IDLE_BYTES, MemoryLimit
from exporter.pipeline.pipeline import Pipeline
from exporter.pipeline.queue import Batcher, Queue
from exporter.pipeline.replay import Replay, Startup
from exporter.pipeline.request_decoder import RequestDecoder
from exporter.pipeline.writer import Writer
from exporter.spool import Spool
from exporter.stats import Counters
from exporter.time_units import SECONDS_PER_DAY
from exporter.wire import AgeLimits

_MAX_SERIES_ENTRIES_WITHOUT_LIMIT: Final = 1_000_000
# An entry takes a third of this, or a half where attributes are long, and a series of a steady
# sender is two of them: the 2 GiB that are the default hold a million (benchmarks/cardinality.py).
_MEMORY_BYTES_PER_SERIES_ENTRY: Final = 960
# Larger batches are not written faster, and a point takes 200 bytes and more while it is written.
_MAX_BATCH_ENTRIES: Final = 250_000
_MEMORY_BYTES_PER_BATCH_ENTRY: Final = 4_096


def build_pipeline(
    backend: Backend,
    spool: Spool | None = None,
    *,
    batch_size: int = 100,
    batch_interval_seconds: float = 60.0,
    max_queued_entries: int = 1_000_000,
    max_series: int | None = None,
    spool_max_age_seconds: float = 7.0 * SECONDS_PER_DAY,
    retry_window_seconds: float = 600.0,
    memory_limit_bytes: int | None = None,
    retention_days: float | None = None,
    max_past_days: float | None = None,
    max_future_days: float | None = None,
    cluster_id_attributes: Sequence[str] = CLUSTER_ID_ATTRIBUTES,
    node_id_attributes: Sequence[str] = NODE_ID_ATTRIBUTES,
    cost_rules: Sequence[CostRule] = (),
    use_default_cost_rules: bool = True,
    token_prices: Sequence[TokenPrice] = (),
) -> Pipeline:
    """A pipeline of its parts, not yet started.

    Args:
        backend: where the rows go; started and closed by the pipeline.
        spool: where requests wait; started and closed by the pipeline.
        batch_size: data points that make a batch due at once.
        batch_interval_seconds: longest that an accepted point waits for its batch.
        max_queued_entries: accepted data points that may wait in memory. The rest waits in the
            spool; without one `submit` refuses.
        max_series: series that are taken; the points of further ones are rejected by name. None
            for any number.
        spool_max_age_seconds: while the oldest waiting request is older, `submit` refuses.
        retry_window_seconds: without a spool, for how long a request is recognised by its bytes.
        memory_limit_bytes: while the process takes more, `submit` refuses; None for no limit.
        retention_days: older points are deleted at start and then hourly; None keeps all.
        max_past_days: points older than this on arrival are rejected; None takes any.
        max_future_days: points further ahead of this machine's clock are rejected; None takes any.
        cluster_id_attributes: see `SeriesCache`.
        node_id_attributes: see `SeriesCache`.
        cost_rules: which metrics carry cost, before the shipped rules.
        use_default_cost_rules: whether the shipped rules count.
        token_prices: of language models, before those of genai-prices where it is installed.
    """
    counters, clock = Counters(), SteadyClock()
    age_limits = AgeLimits(max_past_days, max_future_days)
    series = SeriesCache(
        max_entries=_max_series_entries(memory_limit_bytes),
        max_series=max_series,
        cluster_id_attributes=cluster_id_attributes,
        node_id_attributes=node_id_attributes,
    )
    costs = CostDeriver(
        cost_rules,
        use_defaults=use_default_cost_rules,
        prices=TokenPrices(token_prices),
        is_cached=series.has_series,
    )
    decoder = RequestDecoder(
        series,
        costs,
        cluster_id_attributes=cluster_id_attributes,
        node_id_attributes=node_id_attributes,
    )
    batcher = Batcher(
        batch_size=batch_size,
        batch_interval_seconds=batch_interval_seconds,
        max_batch_entries=max(batch_size, _max_batch_entries(memory_limit_bytes)),
    )
    queue = Queue(batcher, max_entries=max_queued_entries, spooled=spool is not None)
    durability: Durability
    if spool is None:
        replay = None
        durability = MemoryDurability(
            queue, backend.location, clock, retry_window_seconds=retry_window_seconds
        )
    else:
        replay = Replay(spool, queue, decoder, counters, age_limits)
        durability = SpoolDurability(spool, clock, max_age_seconds=spool_max_age_seconds)
    maintenance = Maintenance(
        backend, counters, compact=durability.compact, retention_days=retention_days
    )
    return Pipeline(
        backend,
        spool,
        queue=queue,
        durability=durability,
        intake=Intake(
            queue,
            decoder,
            durability,
            counters,
            age_limits=age_limits,
            memory=MemoryLimit(memory_limit_bytes),
            clock=clock,
        ),
        startup=Startup(backend, replay),
        writer=Writer(
            backend,
            queue,
            series,
            counters,
            refill=replay.refill if replay else None,
            release=durability.release,
            maintain=maintenance.run,
        ),
        maintenance=maintenance,
        counters=counters,
    )


def _max_series_entries(memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None:
        return _MAX_SERIES_ENTRIES_WITHOUT_LIMIT
    return max(memory_limit_bytes - IDLE_BYTES, 0) // _MEMORY_BYTES_PER_SERIES_ENTRY


def _max_batch_entries(memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None:
        return _MAX_BATCH_ENTRIES
    return min(memory_limit_bytes // _MEMORY_BYTES_PER_BATCH_ENTRY, _MAX_BATCH_ENTRIES)
