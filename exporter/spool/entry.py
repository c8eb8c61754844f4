"""One accepted request, as it enters and leaves the spool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Entry", "Signal"]

Signal = Literal["metrics", "logs"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted request.

    Attributes:
        sequence: its place in the queue, given by the caller; later ones are larger.
        received_unix_nano: when it arrived.
        earliest_unix_nano: begin of the window of times that it was decoded with. A replay that
            decodes with the same window rejects exactly the same points.
        latest_unix_nano: end of that window.
        entries: data points that were accepted.
        digest: 16 bytes that stand for the request's own bytes.
        data: the request. What `compress` made of it on the way in, its own bytes on the way out.
        signal: what kind of request it is.
    """

    sequence: int
    received_unix_nano: int
    earliest_unix_nano: int
    latest_unix_nano: int
    entries: int
    digest: bytes
    data: bytes
    signal: Signal = "metrics"
