"""The interface to the roll-ups and the newest chunk of a backend, to read fewer rows.

This is a capability: `Backend.hypertable_catalog` is None where the database has no hypertables,
and readers of such a backend look nothing up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Fetch = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]
"""`Backend.fetch`."""


@dataclass(frozen=True, slots=True)
class RollupInfo:
    """A continuous aggregate that the backend maintains.

    Attributes:
        view: its name.
        bucket_micros: length of its buckets, which begin at multiples of it since 1970.
        column: one of its columns. A role without SELECT on it cannot use the roll-up.
    """

    view: str
    bucket_micros: int
    column: str


@dataclass(frozen=True, slots=True)
class RollupState:
    """How far a roll-up is materialized.

    Attributes:
        watermark_micros: the end of its newest materialized bucket, in microseconds since 1970 UTC.
        is_fresh: the condition that no row from `{start}` up to `{end}` (microseconds since 1970)
            has changed since it was materialized; a snippet like those of `Dialect`. It is valid
            only within the statement that reads the roll-up, where both see one snapshot.
    """

    watermark_micros: int
    is_fresh: str


@dataclass(frozen=True, slots=True)
class NewestChunk:
    """The newest chunk of `system_metrics` that overlaps the time range of the query.

    Attributes:
        begin_micros: the start of the chunk, in microseconds since 1970 UTC.
        last_point_micros: an upper bound for the time of its last point. It is too late by at most
            1/512 of the length of the chunk.
        is_columnstore: whether its rows are stored by column.
    """

    begin_micros: int
    last_point_micros: int
    is_columnstore: bool


class HypertableCatalog(Protocol):
    """Reads the database's own catalogue; any thread may call it while the backend is started.

    `rollup_state` and `newest_chunk` run statements and raise what `Backend.fetch` raises.
    """

    def rollups(self, table: str) -> Sequence[RollupInfo]:
        """The roll-ups of a fact table, widest buckets first; empty if it has none.

        Args:
            table: "system_metrics" or "cost_entries".
        """

    def rollup_state(self, rollup: RollupInfo) -> RollupState | None:
        """How far a roll-up is materialized.

        Returns:
            None if the database does not have it, or the role may not read it.
        """

    def newest_chunk(self, end_micros: int | None) -> NewestChunk | None:
        """Where the newest points of `system_metrics` are.

        Args:
            end_micros: only points before this time count, in microseconds since 1970; None: all.

        Returns:
            None if no chunk is a columnstore, so that reading backwards in time is fast anyway, or
            if the newest chunk begins at `end_micros` or later. Chunks are looked up again after
            ten seconds; until then a newer one may be missed.
        """
