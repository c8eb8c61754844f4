"""Builds the backend, the spool and the pipeline from the settings. Starts none of them.

The server (`exporter.cli`) and the exporters in process (`exporter.sdk`, `exporter.openfinops`) are
composed here, so that a setting means the same in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporter.backends import HypertableOptions, open_backend
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.gen_ai import TokenPrices
from exporter.pipeline import (
    IDLE_BYTES,
    Batcher,
    Durability,
    Intake,
    Maintenance,
    MemoryDurability,
    MemoryLimit,
    MonotonicWallClock,
    Pipeline,
    Queue,
    Replay,
    RequestDecoder,
    Retention,
    SpoolDurability,
    Startup,
    Writer,
)
from exporter.series_cache import SeriesCache
from exporter.spool import Spool
from exporter.stats import Counters
from exporter.wire import AgeLimits

__all__ = ["backend_for", "pipeline_for", "spool_at", "spool_for", "spool_path", "wants_spool"]

_BYTES_PER_MIB: Final = 1024 * 1024
# Relative to the working directory.
_DEFAULT_SPOOL: Final = Path("openfinops-spool.db")
_JOBS_UNCHANGED: Final = HypertableOptions(rollups=False)
_MAX_SERIES_ENTRIES_WITHOUT_LIMIT: Final = 1_000_000
# A cache entry uses about a third of this, half with long attributes, and a series needs two
# entries: the default limit of 2 GiB is enough for a million series (benchmarks/cardinality.py).
_MEMORY_BYTES_PER_SERIES_ENTRY: Final = 960
# Larger batches are not written faster, and a point takes 200 bytes and more while it is written.
_MAX_BATCH_ENTRIES: Final = 250_000
_MEMORY_BYTES_PER_BATCH_ENTRY: Final = 4_096


def backend_for(
    settings: ExporterSettings, *, read_only: bool = False, serving: bool = False
) -> Backend:
    """The backend that the settings name, not yet opened.

    Args:
        settings: what was configured.
        read_only: only ever read.
        serving: True in a receiver: its settings are applied to the jobs of the database (chunks,
            compression, retention). Commands do not change these jobs.

    Raises:
        ConfigError: there is no such backend.
    """
    return open_backend(
        settings.backend,
        settings.connection_string,
        max_memory_entries=settings.max_memory_entries,
        read_only=read_only,
        pool_min_connections=settings.pool_min_connections,
        pool_max_connections=settings.pool_max_connections,
        hypertables=_hypertables(settings) if serving else _JOBS_UNCHANGED,
    )


def _hypertables(settings: ExporterSettings) -> HypertableOptions:
    return HypertableOptions(
        chunk_interval_seconds=settings.chunk_interval_seconds,
        enable_compression=settings.enable_compression,
        compress_after_seconds=settings.compress_after_seconds,
        direct_compress=settings.direct_compress,
        retention_days=settings.retention_days,
        rollups=settings.rollups,
    )


def spool_path(settings: ExporterSettings, backend: Backend) -> Path:
    """Where the receiver's spool is, or would be."""
    beside = Path(f"{backend.location}.spool") if settings.backend == "sqlite" else _DEFAULT_SPOOL
    return settings.spool_path or beside


def wants_spool(settings: ExporterSettings) -> bool:
    """Whether the pipeline uses a spool.

    The backend memory never uses one, because its rows are lost with the process anyway.
    """
    return settings.spool and settings.backend != "memory"


def spool_for(settings: ExporterSettings, backend: Backend) -> Spool | None:
    """Creates the receiver's spool.

    Returns None if the settings turn the spool off or the backend is memory.
    """
    if not wants_spool(settings):
        return None
    return spool_at(spool_path(settings, backend), settings)


def spool_at(path: Path, settings: ExporterSettings) -> Spool:
    """A spool in this file, with the bounds of the settings."""
    return Spool(
        path,
        max_bytes=settings.spool_max_size_mib * _BYTES_PER_MIB,
        retry_window_seconds=settings.retry_window_seconds,
    )


def pipeline_for(
    settings: ExporterSettings,
    backend: Backend,
    spool: Spool | None,
    *,
    memory_limited: bool = True,
    deletes_expired: bool = True,
) -> Pipeline:
    """The pipeline from `submit` to this backend, not yet started.

    Args:
        settings: what was configured.
        backend: where rows go.
        spool: where requests wait; None to keep them in memory.
        memory_limited: whether `memory_limit_mib` is enforced. It is not enforced in embedded use,
            because most of the memory belongs to the host program.
        deletes_expired: whether it deletes expired rows; not if another pipeline of
            the process does.
    """
    memory_limit_bytes = settings.memory_limit_mib * _BYTES_PER_MIB if memory_limited else None
    counters, clock = Counters(), MonotonicWallClock()
    age_limits = AgeLimits(settings.max_past_days, settings.max_future_days)
    series = SeriesCache(
        max_entries=_max_series_entries(memory_limit_bytes),
        max_series=settings.max_series,
        cluster_id_attributes=settings.cluster_id_attributes,
        node_id_attributes=settings.node_id_attributes,
    )
    decoder = _request_decoder(settings, series, counters)
    queue = _queue(settings, memory_limit_bytes, spooled=spool is not None)
    durability: Durability
    if spool is None:
        replay = None
        durability = MemoryDurability(
            queue, backend.location, clock, retry_window_seconds=settings.retry_window_seconds
        )
    else:
        replay = Replay(spool, queue, decoder, counters, age_limits)
        durability = SpoolDurability(spool, clock, max_age_seconds=settings.spool_max_age_seconds)
    retention = Retention(settings.retention_days, settings.cost_retention_days)
    maintenance = Maintenance(
        backend,
        counters,
        compact=durability.compact,
        retention=retention if deletes_expired else None,
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


def _request_decoder(
    settings: ExporterSettings, series: SeriesCache, counters: Counters
) -> RequestDecoder:
    costs = CostDeriver(
        settings.cost_rules,
        use_defaults=settings.default_cost_rules,
        prices=TokenPrices(settings.llm_prices),
        is_cached=series.has_series,
        counters=counters,
    )
    return RequestDecoder(
        series,
        costs,
        cost_events=settings.cost_events,
        cluster_id_attributes=settings.cluster_id_attributes,
        node_id_attributes=settings.node_id_attributes,
    )


def _queue(settings: ExporterSettings, memory_limit_bytes: int | None, *, spooled: bool) -> Queue:
    batcher = Batcher(
        batch_size=settings.batch_size,
        batch_interval_seconds=settings.batch_interval_seconds,
        max_batch_entries=max(settings.batch_size, _max_batch_entries(memory_limit_bytes)),
    )
    return Queue(batcher, max_entries=settings.max_queued_entries, spooled=spooled)


def _max_series_entries(memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None:
        return _MAX_SERIES_ENTRIES_WITHOUT_LIMIT
    return max(memory_limit_bytes - IDLE_BYTES, 0) // _MEMORY_BYTES_PER_SERIES_ENTRY


def _max_batch_entries(memory_limit_bytes: int | None) -> int:
    if memory_limit_bytes is None:
        return _MAX_BATCH_ENTRIES
    return min(memory_limit_bytes // _MEMORY_BYTES_PER_BATCH_ENTRY, _MAX_BATCH_ENTRIES)
