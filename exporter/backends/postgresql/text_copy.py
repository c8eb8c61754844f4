"""Histograms, summaries and exemplars in PostgreSQL's text format of COPY. Pure.

Number points are binary, in `exporter.backends.postgresql.binary_copy`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np

from exporter.backends.postgresql.text_sanitizer import TextSanitizer
from exporter.model import Exemplar, HistogramPoint, Int64Array, SummaryPoint

__all__ = ["days_of", "text_copy_stream", "timestamp_text"]

_NANOSECONDS_PER_MICROSECOND: Final = 1_000
_NANOSECONDS_PER_DAY: Final = 86_400_000_000_000
_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def text_copy_stream(
    items: Iterable[HistogramPoint | SummaryPoint | Exemplar], sanitizer: TextSanitizer
) -> io.BytesIO:
    """Histograms, summaries or exemplars as one text COPY stream, in the order of the columns."""
    lines = ("\t".join(map(_text, _columns(item, sanitizer))) + "\n" for item in items)
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


def timestamp_text(unix_nano: int) -> str:
    """A time as PostgreSQL reads it, in microseconds."""
    return f"{np.datetime64(unix_nano // _NANOSECONDS_PER_MICROSECOND, 'us')}Z"


def _text(value: object) -> str:
    if value is None:
        return r"\N"
    if isinstance(value, tuple):
        return "{" + ",".join(map(str, value)) + "}"
    return str(value).translate(_ESCAPES)


def days_of(times_unix_nano: Int64Array | list[Any]) -> set[int]:
    """Days since 1970 that these times fall into."""
    days = np.asarray(times_unix_nano, np.int64) // _NANOSECONDS_PER_DAY
    if len(days) and days.min() == days.max():  # a batch rarely has two; sorting took 17 ns a row
        return {int(days[0])}
    return set(np.unique(days).tolist())
