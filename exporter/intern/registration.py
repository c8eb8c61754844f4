"""What one request adds to the cache."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from exporter.intern.entries import ResourceEntry
from exporter.model import Series

__all__ = ["Registration"]


class Registration:
    """What one request adds to the cache, so that it can be taken back as a whole.

    Of a hundred thousand series in one request everything is there a hundred thousand times, so
    keys stand in one list for each mapping, and of series that were not known only the ids.
    """

    __slots__ = ("added", "known_before", "large", "new_series", "unknown_before")

    def __init__(self) -> None:
        self.new_series: list[Series] = []
        self.added: list[tuple[MutableMapping[Any, Any], list[Any]]] = []
        self.known_before: list[tuple[int, int]] = []
        self.unknown_before: list[int] = []
        self.large: list[tuple[ResourceEntry, int]] = []

    def add(self, mapping: MutableMapping[Any, Any], key: Any) -> None:
        """Note that the mapping has this key from now on."""
        if not self.added or self.added[-1][0] is not mapping:
            self.added.append((mapping, []))
        self.added[-1][1].append(key)

    def note(self, series_id: int, known: int | None) -> None:
        """Note what was known of a series, None for nothing, before it was handed out."""
        if known is None:
            self.unknown_before.append(series_id)
        else:
            self.known_before.append((series_id, known))
