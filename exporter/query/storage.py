"""How much is stored, as plain dicts like every answer of the query module."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from exporter.model import StoreSizes, TableSize

__all__ = ["sizes_as_dict"]

_NANOSECONDS_PER_SECOND: Final = 1_000_000_000


def sizes_as_dict(sizes: StoreSizes) -> dict[str, Any]:
    """The sizes under the names of `StoreSizes` and `TableSize`; times in epoch seconds.

    `oldest_unix_nano` and `newest_unix_nano` become `oldest_timestamp` and `newest_timestamp`.
    """
    return {
        "series": sizes.series,
        "total_bytes": sizes.total_bytes,
        "free_bytes": sizes.free_bytes,
        "tables": [_table_as_dict(table) for table in sizes.tables],
    }


def _table_as_dict(table: TableSize) -> dict[str, Any]:
    return {
        name.replace("unix_nano", "timestamp"): _seconds(value)
        if name.endswith("unix_nano")
        else value
        for name, value in asdict(table).items()
    }


def _seconds(unix_nano: int | None) -> float | None:
    return None if unix_nano is None else unix_nano / _NANOSECONDS_PER_SECOND
