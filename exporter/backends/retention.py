"""Which rows are deleted when they are old, for every backend. Pure."""

from __future__ import annotations

from typing import Final

from exporter.tables import COST_ENTRIES, FACT_TABLES

EXPIRING_COSTS: Final = "source <> 'focus'"
"""SQL condition on cost entries. Bills stay: they are imported on purpose, whatever their age."""


def limits_by_table(time_unix_nano: int, costs_before_unix_nano: int | None) -> dict[str, int]:
    """The time of each fact table before which its rows are deleted, in nanoseconds since 1970.

    Args:
        time_unix_nano: of metrics.
        costs_before_unix_nano: of cost entries; None for the time of metrics.
    """
    limits = {table.name: time_unix_nano for table in FACT_TABLES}
    if costs_before_unix_nano is not None:
        limits[COST_ENTRIES.name] = costs_before_unix_nano
    return limits
