"""What decoding a request gives: a batch, and what was left out of it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from exporter.model import Batch

__all__ = ["Decoded", "Rejections"]

# A response must stay under 4 MiB and is read by people: name the commonest reasons.
_REASONS_SHOWN: Final = 10
_NAMES_SHOWN: Final = 5
_NAME_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Rejections:
    """Points that were not stored, counted by metric name and reason."""

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many points were rejected."""
        return sum(self.counts.values())

    def message(self) -> str:
        """English for `partial_success.error_message`; empty where nothing was rejected."""
        if not self.counts:
            return ""
        names: dict[str, list[str]] = {}
        counts: Counter[str] = Counter()
        for (name, reason), count in self.counts.items():
            names.setdefault(reason, []).append(name[:_NAME_SHOWN] or "a metric without a name")
            counts[reason] += count
        ranked = counts.most_common()
        shown = [
            f"{count} because {reason} ({_some(names[reason])})"
            for reason, count in ranked[:_REASONS_SHOWN]
        ]
        if len(ranked) > len(shown):
            shown.append(f"and {len(ranked) - len(shown)} more reasons")
        noun = "data point" if self.total == 1 else "data points"
        return f"{self.total} {noun} rejected: " + "; ".join(shown)


def _some(names: list[str]) -> str:
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {more} more metrics" if more > 0 else shown


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request as rows."""

    batch: Batch
    rejections: Rejections
