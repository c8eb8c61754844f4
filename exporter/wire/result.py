"""What decoding a request gives: a batch, and what was left out of it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from exporter.model import Batch

__all__ = ["Decoded", "Rejections"]

# A response must stay under 4 MiB and is read by people: name the commonest reasons.
_REASONS_SHOWN: Final = 10
_NAMES_SHOWN: Final = 5
_NAME_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Rejections:
    """What was not stored, counted by name (of the metric or event) and reason.

    `noun` is what one of them is called.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    noun: Literal["data point", "log record"] = "data point"

    @property
    def total(self) -> int:
        """How many were rejected."""
        return sum(self.counts.values())

    def message(self) -> str:
        """English for `partial_success.error_message`; empty where nothing was rejected."""
        if not self.counts:
            return ""
        named = "metric" if self.noun == "data point" else "record"
        names: dict[str, list[str]] = {}
        counts: Counter[str] = Counter()
        for (name, reason), count in self.counts.items():
            names.setdefault(reason, []).append(name[:_NAME_SHOWN] or f"a {named} without a name")
            counts[reason] += count
        ranked = counts.most_common()
        shown = [
            f"{count} because {reason} ({_some(names[reason], named)})"
            for reason, count in ranked[:_REASONS_SHOWN]
        ]
        if len(ranked) > len(shown):
            shown.append(f"and {len(ranked) - len(shown)} more reasons")
        noun = self.noun if self.total == 1 else f"{self.noun}s"
        return f"{self.total} {noun} rejected: " + "; ".join(shown)


def _some(names: list[str], named: str) -> str:
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN])
    return f"{shown} and {more} more {named}s" if more > 0 else shown


@dataclass(frozen=True, slots=True)
class Decoded:
    """A request as rows."""

    batch: Batch
    rejections: Rejections
