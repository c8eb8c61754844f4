"""Histograms, summaries and exemplars: one object each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExponentialBuckets:
    """The fields of a point that only exponential histograms have.

    Bucket i of the positive range counts values in (base^i, base^(i+1)], with
    base = 2^(2^-scale); the first element of `positive_counts` is bucket `positive_offset`.
    """

    scale: int
    zero_count: int
    zero_threshold: float
    positive_offset: int
    positive_counts: tuple[int, ...]
    negative_offset: int
    negative_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HistogramPoint:
    """One point of a histogram, explicit (`bounds`, `bucket_counts`) or exponential.

    `count` is None for "no recorded value". `sum`, `min` and `max` are None if the sender left
    them out. `bounds` and `bucket_counts` are both empty if the point has no buckets; otherwise
    there is one count more than there are bounds.
    """

    series_id: int
    time_unix_nano: int
    start_time_unix_nano: int
    count: int | None
    sum: float | None
    min: float | None
    max: float | None
    bounds: tuple[float, ...] = ()
    bucket_counts: tuple[int, ...] = ()
    exponential: ExponentialBuckets | None = None


@dataclass(frozen=True, slots=True)
class SummaryPoint:
    """One point of a summary; `count` is None for "no recorded value"."""

    series_id: int
    time_unix_nano: int
    start_time_unix_nano: int
    count: int | None
    sum: float | None
    quantiles: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One measurement of a point, with the trace in which it was made.

    `trace_id` (32 digits) and `span_id` (16) are lower-case hex, "" if absent; `attributes` is
    canonical JSON of OTLP's `filtered_attributes`, those that are not among the point's own.
    """

    series_id: int
    time_unix_nano: int
    value: float
    trace_id: str
    span_id: str
    attributes: str
