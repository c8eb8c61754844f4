"""Hypothesis strategies for batches, with few series and times, so that keys repeat."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from exporter.model import Batch, ExponentialBuckets, HistogramPoint, Series, SummaryPoint
from kit.backends.samples import NOW, exemplar, points, series

_MOST = 2**63 - 1
_ids = st.sampled_from([0, 1, -1, 7, _MOST, -(2**63)])
# Within one microsecond, across several, and the earliest and latest possible times.
_times = st.one_of(
    st.integers(NOW, NOW + 3_000), st.sampled_from([1, 999, 1_000, _MOST, NOW - 10**9])
)
_starts = st.one_of(st.just(0), st.integers(NOW - 5_000, NOW), st.just(1))
_numbers = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 5e-324, 2.0**53, 2.0**63, float("nan"), float("inf")]),
)
_counts = st.one_of(st.integers(0, 20), st.sampled_from([2**53 + 1, _MOST]))
_maybe_number = st.none() | _numbers
# No lone surrogates: the decoder refuses them.
_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_json = st.dictionaries(_texts, _texts | st.integers() | st.booleans(), max_size=3).map(
    lambda value: json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
)


def _series(series_id: int) -> st.SearchStrategy[Series]:
    """One identity for each id, so that none collides; other fields vary."""
    return st.builds(
        lambda description, url: series(series_id, description=description, scope_schema_url=url),
        _texts,
        _texts,
    )


@st.composite
def _histograms(draw: st.DrawFn) -> HistogramPoint:
    bounds = tuple(draw(st.lists(_numbers, max_size=4)))
    buckets = draw(st.none() | _exponential)
    return HistogramPoint(
        series_id=draw(_ids),
        time_unix_nano=draw(_times),
        start_time_unix_nano=draw(_starts),
        count=draw(st.none() | _counts),
        sum=draw(_maybe_number),
        min=draw(_maybe_number),
        max=draw(_maybe_number),
        bounds=() if buckets else bounds,
        bucket_counts=() if buckets or not bounds else tuple(range(len(bounds) + 1)),
        exponential=buckets,
    )


_offsets = st.integers(-(2**31), 2**31 - 1)
_many_counts = st.lists(st.integers(0, 2**64 - 1), max_size=5).map(tuple)
_exponential: st.SearchStrategy[ExponentialBuckets] = st.builds(
    ExponentialBuckets,
    scale=st.integers(-11, 20),
    zero_count=_counts,
    zero_threshold=_numbers,
    positive_offset=_offsets,
    positive_counts=_many_counts,
    negative_offset=_offsets,
    negative_counts=_many_counts,
)


@st.composite
def _summaries(draw: st.DrawFn) -> SummaryPoint:
    pairs = draw(st.lists(st.tuples(_numbers, _numbers), max_size=4))
    return SummaryPoint(
        series_id=draw(_ids),
        time_unix_nano=draw(_times),
        start_time_unix_nano=draw(_starts),
        count=draw(st.none() | _counts),
        sum=draw(_maybe_number),
        quantiles=tuple(quantile for quantile, _ in pairs),
        values=tuple(value for _, value in pairs),
    )


def _some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=5).map(tuple)


batches: st.SearchStrategy[Batch] = st.builds(
    Batch,
    new_series=_some(_ids.flatmap(_series)),
    points=st.lists(st.tuples(_ids, _times, _starts, _numbers, st.booleans()), max_size=20).map(
        points
    ),
    histograms=_some(_histograms()),
    summaries=_some(_summaries()),
    exemplars=_some(
        st.builds(
            exemplar,
            _ids,
            _times,
            value=_numbers,
            trace_id=_texts,
            span_id=_texts,
            attributes=_json,
        )
    ),
)
