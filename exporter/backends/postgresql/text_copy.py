"""Histograms, summaries and exemplars in PostgreSQL's text format of COPY. Pure.

Number points use the binary format: `exporter.backends.postgresql.binary_copy`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Final

from exporter.backends.postgresql.text_values import TextSanitizer, timestamp_text
from exporter.model import Exemplar, HistogramPoint, SummaryPoint

_ESCAPES: Final = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


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
