"""Settings to backend, spool and pipeline; starts none of them.

The server (`exporter.cli`) and the exporters in process (`exporter.sdk`, `exporter.openfinops`) are
composed here, so that a setting means the same in both.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from exporter.backends import HypertableOptions, open_backend
from exporter.backends.base import Backend
from exporter.config import ExporterSettings
from exporter.pipeline import Pipeline, build_pipeline
from exporter.spool import Spool

__all__ = ["backend_for", "pipeline_for", "spool_at", "spool_for", "spool_path", "wants_spool"]

_BYTES_PER_MIB: Final = 1024 * 1024
# Relative to the working directory.
_DEFAULT_SPOOL: Final = Path("openfinops-spool.db")
_JOBS_UNCHANGED: Final = HypertableOptions(rollups=False)


def backend_for(
    settings: ExporterSettings, *, read_only: bool = False, serving: bool = False
) -> Backend:
    """The backend that the settings name, not yet opened.

    Args:
        settings: what was configured.
        read_only: only ever read.
        serving: whether the database's own jobs (chunks, compression, retention) follow these
            settings. Those of a command may differ from the receiver's, so it leaves them alone.

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
    """Whether requests are kept on disk; never for the backend memory, which keeps no rows."""
    return settings.spool and settings.backend != "memory"


def spool_for(settings: ExporterSettings, backend: Backend) -> Spool | None:
    """The receiver's spool; None where the settings want none, and for the backend memory."""
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
    deletes_old: bool = True,
) -> Pipeline:
    """The pipeline from `submit` to this backend, not yet started.

    Args:
        settings: what was configured.
        backend: where rows go.
        spool: where requests wait; None to keep them in memory.
        memory_limited: whether `memory_limit_mib` counts. Not in a program of the user's own: the
            memory is mostly that program's, and refusing its data would not lower it.
        deletes_old: whether it deletes rows past `retention_days`; not where another pipeline of
            the process does.
    """
    return build_pipeline(
        backend,
        spool,
        max_series=settings.max_series,
        spool_max_age_seconds=settings.spool_max_age_seconds,
        retry_window_seconds=settings.retry_window_seconds,
        memory_limit_bytes=settings.memory_limit_mib * _BYTES_PER_MIB if memory_limited else None,
        batch_size=settings.batch_size,
        batch_interval_seconds=settings.batch_interval_seconds,
        max_queued_entries=settings.max_queued_entries,
        retention_days=settings.retention_days if deletes_old else None,
        max_past_days=settings.max_past_days,
        max_future_days=settings.max_future_days,
        cluster_id_attributes=settings.cluster_id_attributes,
        node_id_attributes=settings.node_id_attributes,
        cost_rules=settings.cost_rules,
        use_default_cost_rules=settings.default_cost_rules,
        token_prices=settings.llm_prices,
    )
