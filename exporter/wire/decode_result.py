"""The result of decoding a request: the batch, and the rejections with their reasons. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from exporter.model import Batch

# The message is read by people, and a gRPC response must stay under 4 MiB: name only the most
# frequent reasons.
_MAX_REASONS_SHOWN: Final = 10
_MAX_NAMES_SHOWN: Final = 5
_MAX_NAME_CHARACTERS_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Rejections:
    """Data points or log records that were not stored.

    Attributes:
        counts: how many, by name (of the metric or event) and reason.
        noun: what one of them is called in the message.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    noun: Literal["data point", "log record"] = "data point"

    @property
    def total(self) -> int:
        """How many were rejected."""
        return sum(self.counts.values())

    def message(self) -> str:
        """English text for `partial_success.error_message`; empty if nothing was rejected."""
        if not self.counts:
            return ""
        owner = "metric" if self.noun == "data point" else "record"
        names: dict[str, list[str]] = {}
        counts: Counter[str] = Counter()
        for (name, reason), count in self.counts.items():
            shown_name = name[:_MAX_NAME_CHARACTERS_SHOWN] or f"a {owner} without a name"
            names.setdefault(reason, []).append(shown_name)
            counts[reason] += count
        ranked = counts.most_common()
        shown = [
            f"{count} because {reason} ({_name_list(names[reason], owner)})"
            for reason, count in ranked[:_MAX_REASONS_SHOWN]
        ]
        if len(ranked) > len(shown):
            shown.append(f"and {len(ranked) - len(shown)} more reasons")
        noun = self.noun if self.total == 1 else f"{self.noun}s"
        return f"{self.total} {noun} rejected: " + "; ".join(shown)


def _name_list(names: list[str], owner: str) -> str:
    more = len(names) - _MAX_NAMES_SHOWN
    shown = ", ".join(names[:_MAX_NAMES_SHOWN])
    return f"{shown} and {more} more {owner}s" if more > 0 else shown


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded request."""

    batch: Batch
    rejections: Rejections
