"""One accepted request, and its row in the spool's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Final, Literal

from exporter.spool.compression import decompress

Signal = Literal["metrics", "logs"]

_SIGNALS: Final[tuple[Signal, ...]] = ("metrics", "logs")
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Entry:
    """One accepted request.

    Attributes:
        sequence: its place in the queue, given by the caller; later ones are larger.
        received_unix_nano: when it arrived.
        earliest_unix_nano: begin of the time window that it was decoded with. A replay that
            decodes with the same window rejects exactly the same points.
        latest_unix_nano: end of that window.
        entries: data points that were accepted.
        digest: 16 bytes, a hash of the request's own bytes.
        data: the request: the result of `compress` on the way in, its own bytes on the way out.
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


_NAMES: Final = tuple(field.name for field in fields(Entry))
COLUMNS: Final = ", ".join(_NAMES)
"""The columns of the table `requests`, in the order of the fields of `Entry`."""

DATA_COLUMN: Final = _NAMES.index("data")
"""The place of `data` among them."""

row_of_entry: Final = attrgetter(*_NAMES)
"""The values of an entry in the order of COLUMNS, as they are."""


def entry_of_row(row: Sequence[Any]) -> Entry:
    """The entry in a row of COLUMNS, decompressed.

    Raises:
        TypeError, ValueError: a value does not belong there, or the data are damaged.
    """
    *numbers, digest, data, signal = row
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError(f"numbers expected in {numbers}")
    if not isinstance(digest, bytes) or len(digest) != _DIGEST_BYTES:
        raise ValueError(f"a digest of {_DIGEST_BYTES} bytes expected, found {digest!r:.60}")
    if signal not in _SIGNALS:
        raise ValueError(f"a signal of {', '.join(_SIGNALS)} expected, found {signal!r:.60}")
    values = [*numbers, digest, decompress(data), signal]
    return Entry(*values)
