"""Values in the text form that PostgreSQL accepts, and rows in the text format of COPY. Pure.

PostgreSQL's text and jsonb cannot store NUL; U+FFFD, the replacement character, replaces it. Number
points use the binary format: `exporter.backends.postgresql.binary_copy`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import numpy as np

from exporter.model import Exemplar, HistogramPoint, SummaryPoint
from exporter.time_units import NANOSECONDS_PER_MICROSECOND

_REPLACEMENT: Final = "\ufffd"
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


class TextSanitizer:
    """Cleans the texts of one attempt to write a batch, and counts those that it changes.

    Attributes:
        altered: how many texts it has changed; a JSON document counts once.
    """

    def __init__(self) -> None:
        self.altered = 0

    def text(self, text: str) -> str:
        """The text with U+FFFD in place of each NUL."""
        if "\0" not in text:
            return text
        self.altered += 1
        return clean_text(text)

    def json(self, text: str) -> str:
        """The JSON text with U+FFFD in place of each escaped NUL."""
        cleaned = clean_json(text)
        # An unchanged text is nearly always the same object; that avoids comparing characters.
        if cleaned is not text and cleaned != text:
            self.altered += 1
        return cleaned


def clean_text(text: str) -> str:
    """The text with U+FFFD in place of each NUL."""
    return text.replace("\0", _REPLACEMENT)


def clean_json(text: str) -> str:
    r"""The JSON text without `\u0000`; `\\u0000`, a backslash and letters, stays."""
    if r"\u0000" not in text:
        return text
    pieces = text.split(r"\\")
    return r"\\".join(piece.replace(r"\u0000", _REPLACEMENT) for piece in pieces)


def timestamp_text(unix_nano: int) -> str:
    """A time as timestamptz accepts it, rounded down to a microsecond."""
    return f"{np.datetime64(unix_nano // NANOSECONDS_PER_MICROSECOND, 'us')}Z"


def row_copy_stream(rows: Sequence[Sequence[object]]) -> io.BytesIO:
    """Rows of numbers and sanitized texts, all of one length, as a COPY stream."""
    # No sanitized text has a NUL, so it can mark NULL until all fields are known to need no escape.
    fields = [["\0" if value is None else str(value) for value in row] for row in rows]
    text = "\n".join(["\t".join(row) for row in fields]) + "\n"
    tabs = len(rows) * (len(rows[0]) - 1) if rows else 0
    if text.count("\t") != tabs or text.count("\n") != len(rows) or "\\" in text or "\r" in text:
        escaped = ("\t".join([field.translate(_ESCAPES) for field in row]) + "\n" for row in fields)
        text = "".join(escaped)
    return io.BytesIO(text.replace("\0", r"\N").encode())


def array_text(values: Iterable[object]) -> str:
    """Numbers, times and booleans as an array literal."""
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def text_copy_stream(
    items: Iterable[HistogramPoint | SummaryPoint | Exemplar], sanitizer: TextSanitizer
) -> io.BytesIO:
    """Items of one kind as a COPY stream, with the columns in the order of `exporter.tables`."""
    lines = ("\t".join(map(_field, _columns(item, sanitizer))) + "\n" for item in items)
    return io.BytesIO("".join(lines).encode())


def _columns(
    item: HistogramPoint | SummaryPoint | Exemplar, sanitizer: TextSanitizer
) -> Iterator[object]:
    yield timestamp_text(item.time_unix_nano)
    yield item.series_id
    if isinstance(item, Exemplar):
        yield item.value
        yield from (sanitizer.text(item.trace_id), sanitizer.text(item.span_id))
        yield sanitizer.json(item.attributes)
        return
    yield timestamp_text(item.start_time_unix_nano) if item.start_time_unix_nano else None
    yield from (item.count, item.sum)
    if isinstance(item, SummaryPoint):
        yield from (item.quantiles, item.values)
        return
    yield from (item.min, item.max)
    exponential = item.exponential
    if exponential is None:
        yield from (item.bounds, item.bucket_counts, *[None] * 7)
        return
    yield from (None, None, exponential.scale, exponential.zero_count, exponential.zero_threshold)
    yield from (exponential.positive_offset, exponential.positive_counts)
    yield from (exponential.negative_offset, exponential.negative_counts)


def _field(value: object) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, tuple):
        return "{" + ",".join(map(str, value)) + "}"
    return str(value).translate(_ESCAPES)
