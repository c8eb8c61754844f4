"""Roll-ups and chunks in TimescaleDB's catalogue, for readers; writes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from exporter.backends.dialect import POSTGRESQL
from exporter.backends.hypertable_catalog import Fetch, NewestChunk, RollupInfo, RollupState
from exporter.time_units import NANOSECONDS_PER_HOUR, nanos_to_micros

# Begin and end in microseconds, and whether it is a columnstore.
_Chunk = tuple[int, int, bool]

_HOUR_MICROS: Final = nanos_to_micros(NANOSECONDS_PER_HOUR)
_ROLLUPS: Final = {
    table: (
        RollupInfo(f"{subject}_rollups_daily", 24 * _HOUR_MICROS, column),
        RollupInfo(f"{subject}_rollups_hourly", _HOUR_MICROS, column),
    )
    for table, subject, column in (
        ("system_metrics", "metric", "last_timestamp"),
        ("cost_entries", "cost", "entries"),
    )
}

_AGGREGATE: Final = "_timescaledb_catalog.continuous_agg"
_WATERMARK: Final = "_timescaledb_catalog.continuous_aggs_watermark"
# A change of rows is logged in the first. Each refresh moves entries to the second; versions that
# have the third move them there before the transaction that materializes begins.
_HYPERTABLE_LOG: Final = "_timescaledb_catalog.continuous_aggs_hypertable_invalidation_log"
_VIEW_LOG: Final = "_timescaledb_catalog.continuous_aggs_materialization_invalidation_log"
_RANGES_LOG: Final = "_timescaledb_catalog.continuous_aggs_materialization_ranges"

# to_regclass answers NULL for a name that does not exist, where a plain reference would fail. A
# role that reads the points need not have SELECT on the roll-up.
_HAS_ROLLUP: Final = f"""
    SELECT to_regclass('{_AGGREGATE}') IS NOT NULL AND to_regclass('{_WATERMARK}') IS NOT NULL
            AND to_regclass('{_HYPERTABLE_LOG}') IS NOT NULL
            AND to_regclass('{_VIEW_LOG}') IS NOT NULL
            AND EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = to_regclass(%s) AND attname = %s
                    AND has_column_privilege(attrelid, attnum, 'SELECT')
            ),
        to_regclass('{_RANGES_LOG}') IS NOT NULL"""  # noqa: S608 - literals of this module
# The watermark is the end of the newest bucket that is materialized.
_STATE: Final = f"""
    SELECT a.mat_hypertable_id, w.watermark
    FROM {_AGGREGATE} AS a JOIN {_WATERMARK} AS w USING (mat_hypertable_id)
    JOIN pg_namespace AS namespace ON namespace.nspname = a.user_view_schema
    JOIN pg_class AS view
        ON view.relnamespace = namespace.oid AND view.relname = a.user_view_name
    WHERE view.oid = to_regclass(%s)"""  # noqa: S608 - literals of this module
_IS_FRESH: Final = """
    EXISTS (
        SELECT FROM {aggregate} AS a
        WHERE a.mat_hypertable_id = {identifier} AND NOT EXISTS ({changes})
    )"""
_CHANGE: Final = """
    SELECT FROM {log} AS log
    WHERE log.{key} AND log.lowest_modified_value < {{end}}
        AND log.greatest_modified_value >= {{start}}"""

_NEWEST_CHUNK: Final = f"""
    SELECT {POSTGRESQL.micros.format(time="range_start")},
           {POSTGRESQL.micros.format(time="range_end")},
           is_compressed, bool_or(is_compressed) OVER ()
    FROM timescaledb_information.chunks
    WHERE hypertable_name = 'system_metrics'
        AND format('%I.%I', hypertable_schema, hypertable_name)::regclass
            = to_regclass('system_metrics')
    ORDER BY range_end DESC LIMIT 1"""  # noqa: S608 - literals of this module
# The catalogue takes longer than reading a window, 2 to 5 ms. A chunk newer than the one that is
# remembered costs time and no rows: the last window has no end.
_CHUNK_CACHE_SECONDS: Final = 10.0
# Nine halvings cut a day to less than three minutes.
_HALVINGS: Final = 9
# The bounds are repeated beside the halves, so that the planner leaves out the other chunks.
_LAST_POINT: Final = f"""
    WITH RECURSIVE half (low, high, step) AS (
        SELECT %s, %s, 0
        UNION ALL
        SELECT CASE WHEN has_points THEN middle ELSE low END,
               CASE WHEN has_points THEN high ELSE middle END,
               step + 1
        FROM (
            SELECT low, high, middle, step, EXISTS (
                SELECT FROM system_metrics AS m
                WHERE m.timestamp >= %s AND m.timestamp < %s
                    AND m.timestamp >= middle AND m.timestamp < high
            ) AS has_points
            FROM (
                SELECT low, high, step, low + (high - low) / 2 AS middle
                FROM half WHERE step < {_HALVINGS}
            ) AS halved
            OFFSET 0
        ) AS searched
    )
    SELECT {POSTGRESQL.micros.format(time="high")} FROM half ORDER BY step DESC LIMIT 1
    """  # noqa: S608 - literals of this module


class TimescaleDBCatalog:
    """Keeps the contract of `exporter.backends.hypertable_catalog.HypertableCatalog`.

    Args:
        fetch: runs a reading statement; `Backend.fetch`.
        clock: seconds, of which only differences count.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        # The cached newest chunk (None if no chunk is a columnstore) and the time until which the
        # cache is valid. Threads replace the pair as a whole, so that a reader never sees half of
        # it.
        self._cached_chunk: tuple[_Chunk | None, float] | None = None

    def rollups(self, table: str) -> Sequence[RollupInfo]:
        """The roll-ups of a fact table, widest buckets first."""
        return _ROLLUPS.get(table, ())

    def rollup_state(self, rollup: RollupInfo) -> RollupState | None:
        """How far a roll-up is materialized; None if it is missing or not readable."""
        [(is_readable, has_ranges_log)] = self._fetch(_HAS_ROLLUP, (rollup.view, rollup.column))
        if not is_readable:
            return None
        for identifier, watermark_micros in self._fetch(_STATE, (rollup.view,)):
            return RollupState(
                watermark_micros, _is_fresh(identifier, has_ranges_log=has_ranges_log)
            )
        return None

    def newest_chunk(self, end_micros: int | None) -> NewestChunk | None:
        """The newest chunk of `system_metrics`, and where its last point before `end_micros` is."""
        chunk = self._look_up_chunk()
        if chunk is None:
            return None
        begin_micros, chunk_end_micros, is_columnstore = chunk
        last_micros = chunk_end_micros if end_micros is None else min(chunk_end_micros, end_micros)
        if begin_micros >= last_micros:
            return None
        bounds = POSTGRESQL.time_parameter(begin_micros), POSTGRESQL.time_parameter(last_micros)
        [(last_point_micros,)] = self._fetch(_LAST_POINT, (*bounds, *bounds))
        return NewestChunk(begin_micros, last_point_micros, is_columnstore)

    def _look_up_chunk(self) -> _Chunk | None:
        cached, now = self._cached_chunk, self._clock()
        if cached is None or now >= cached[1]:
            chunk = None
            for begin, end, is_columnstore, any_is_columnstore in self._fetch(_NEWEST_CHUNK, ()):
                chunk = (begin, end, is_columnstore) if any_is_columnstore else None
            cached = self._cached_chunk = chunk, now + _CHUNK_CACHE_SECONDS
        return cached[0]


def _is_fresh(identifier: int, *, has_ranges_log: bool) -> str:
    """The condition of `RollupState.is_fresh`.

    The log always contains one entry for times below the range of timestamps. `{start}` must be 0
    or later to exclude it.
    """
    logs = [
        (_HYPERTABLE_LOG, "hypertable_id = a.raw_hypertable_id"),
        (_VIEW_LOG, "materialization_id = a.mat_hypertable_id"),
    ]
    if has_ranges_log:
        logs.append((_RANGES_LOG, "materialization_id = a.mat_hypertable_id"))
    changes = " UNION ALL ".join(_CHANGE.format(log=log, key=key) for log, key in logs)
    return _IS_FRESH.format(aggregate=_AGGREGATE, identifier=identifier, changes=changes)
