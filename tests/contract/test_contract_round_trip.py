"""What is written reads back unchanged: every type, every special number and text."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.dict_store import DictStore, definition, without_repeats
from kit.backends.kinds import Kind, StoreFactory
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    exemplar,
    exponential,
    flood,
    histogram,
    point,
    series,
    summary,
)
from kit.backends.stored_rows import count, stored, stored_exemplars, stored_points, stored_series
from kit.backends.strategies import batches

from exporter.backends.base import Backend
from exporter.model import Batch, WriteResult

MICROS = NOW // 1_000
INT64_MAX = 2**63 - 1


def expected(*written: Batch) -> DictStore:
    reference = DictStore()
    for batch in written:
        reference.write(batch)
    return reference


def test_all_five_types_in_one_batch(backend: Backend) -> None:
    kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    batch = batch_of(
        point(0, value=0.25),
        point(1, value=42.0, start=NOW - SECOND),
        new_series=tuple(
            series(index, metric_type=kind, metric_name=f"metric.{kind}")
            for index, kind in enumerate(kinds)
        ),
        histograms=(histogram(2), exponential(3)),
        summaries=(summary(4),),
        exemplars=(exemplar(2), exemplar(2, value=4.5), exemplar(1, trace_id="", span_id="")),
    )
    assert backend.write(batch) == WriteResult(stored=5)
    assert stored(backend) == expected(batch)


@pytest.mark.parametrize("temporality", ["delta", "cumulative"])
@pytest.mark.parametrize("is_monotonic", [True, False])
def test_temporality_and_monotonicity_are_kept(
    backend: Backend, temporality: str, *, is_monotonic: bool
) -> None:
    one = series(5, metric_type="sum", temporality=temporality, is_monotonic=is_monotonic)
    backend.write(batch_of(point(5), new_series=(one,)))
    assert stored_series(backend) == {5: definition(one)}


@pytest.mark.parametrize(
    "value",
    [
        *(0.0, 1.0, -1.5, 0.1 + 0.2, 5e-324, 1.7976931348623157e308),
        *(2.0**53, 2.0**53 + 2, 2.0**63, math.inf, -math.inf),
    ],
)
def test_a_number_reads_back_bit_for_bit(backend: Backend, value: float) -> None:
    backend.write(batch_of(point(1, value=value), exemplars=(exemplar(1, value=value),)))
    assert stored_points(backend) == {(MICROS, 1): (value, None)}
    assert {row[2] for row in stored_exemplars(backend)} == {value}


def test_minus_zero_reads_back_as_zero(backend: Backend) -> None:
    # The sign is not part of the contract: SQLite stores whole numbers as integers.
    backend.write(batch_of(point(1, value=-0.0)))
    assert stored_points(backend) == {(MICROS, 1): (0.0, None)}


def test_nan_is_a_value_and_not_missing(backend: Backend) -> None:
    backend.write(batch_of(point(1, value=math.nan), point(2, value=math.nan, recorded=False)))
    assert stored_points(backend) == {(MICROS, 1): ("NaN", None), (MICROS, 2): (None, None)}
    [(missing,)] = backend.fetch("SELECT series_id FROM system_metrics WHERE value IS NULL")
    assert missing == 2


def test_no_recorded_value_is_null_for_any_value(backend: Backend) -> None:
    batch = batch_of(
        point(1, value=7.5, recorded=False),
        histograms=(histogram(2, count=None, sum=None, min=None, max=None),),
        summaries=(summary(3, count=None, sum=None, quantiles=(), values=()),),
    )
    backend.write(batch)
    assert stored(backend) == expected(batch)
    assert backend.fetch("SELECT count, sum FROM metric_histograms") == [(None, None)]
    assert backend.fetch("SELECT count, sum FROM metric_summaries") == [(None, None)]


def test_numbers_in_histograms_and_summaries_may_be_nan_or_infinite(backend: Backend) -> None:
    batch = Batch(
        histograms=(
            histogram(1, sum=math.nan, min=-math.inf, max=math.inf),
            histogram(2, bounds=(-math.inf, 0.0, math.inf), bucket_counts=(0, 1, 2, 3)),
            exponential(3, zero_threshold=math.nan),
        ),
        summaries=(
            summary(
                4, sum=math.inf, quantiles=(0.0, 1.0, 0.5), values=(-math.inf, math.inf, math.nan)
            ),
        ),
    )
    backend.write(batch)
    assert stored(backend) == expected(batch)


def test_a_histogram_without_sum_and_extremes_or_buckets(backend: Backend) -> None:
    batch = Batch(
        histograms=(
            histogram(1, sum=None, min=None, max=None),
            histogram(2, bounds=(), bucket_counts=()),
            histogram(3, bounds=(), bucket_counts=(6,)),
            exponential(4, positive_counts=(), negative_counts=(1, 2)),
        )
    )
    backend.write(batch)
    assert stored(backend) == expected(batch)


def test_the_largest_counts(backend: Backend) -> None:
    batch = Batch(
        histograms=(
            histogram(1, count=INT64_MAX, bucket_counts=(2**64 - 1, 0, INT64_MAX)),
            exponential(2, zero_count=INT64_MAX, positive_offset=-(2**31), scale=-10),
        ),
        summaries=(summary(3, count=INT64_MAX),),
    )
    backend.write(batch)
    assert stored(backend) == expected(batch)


@pytest.mark.parametrize("series_id", [0, -1, INT64_MAX, -(2**63)])
def test_every_series_id_can_be_stored(backend: Backend, series_id: int) -> None:
    batch = batch_of(
        point(series_id),
        new_series=(series(series_id),),
        histograms=(histogram(series_id),),
        exemplars=(exemplar(series_id),),
    )
    backend.write(batch)
    assert stored(backend) == expected(batch)


def test_times_are_rounded_down_to_microseconds(backend: Backend) -> None:
    rows = point(1, NOW + 1_999, start=NOW + 999), point(2, 1), point(3, INT64_MAX)
    backend.write(batch_of(*rows))
    assert stored_points(backend) == {
        (MICROS + 1, 1, MICROS): (1.0, MICROS),
        (0, 2): (1.0, None),
        (INT64_MAX // 1_000, 3): (1.0, None),
    }


def test_an_unknown_start_is_null(backend: Backend) -> None:
    batch = batch_of(
        point(1, start=0),
        point(2, start=NOW - SECOND),
        histograms=(histogram(3, start_time_unix_nano=0),),
        summaries=(summary(4, start_time_unix_nano=0),),
    )
    backend.write(batch)
    assert stored(backend) == expected(batch)
    assert stored_points(backend)[MICROS, 1] == (1.0, None)


@pytest.mark.parametrize(
    "text",
    [
        *("", "Größe", "温度", "\U0001f469\u200d\U0001f4bb", "\u202eright to left", "\uffff"),
        *("a'b\"c\\d;--", "line\nbreak\ttab\rreturn", "\\N", r"\u0000", "{}", "\\."),
    ],
    ids=ascii,
)
def test_any_text_reads_back(backend: Backend, text: str) -> None:
    one = series(1, metric_name=text, unit=text, description=text, service_name=text, node_id=text)
    backend.write(batch_of(point(1), new_series=(one,), exemplars=(exemplar(1, span_id=text),)))
    assert stored_series(backend) == {1: definition(one)}
    assert {row[4] for row in stored_exemplars(backend)} == {text}


def test_nul_reads_back_or_is_replaced(backend: Backend, kind: Kind) -> None:
    text, escaped = "a\0b", r'{"k\u0000":"\\u0000 \\\u0000"}'
    shown = text if kind.keeps_nul else "a\ufffdb"
    one = series(1, metric_name=text, service_name=text, attributes=escaped)
    backend.write(
        batch_of(point(1), new_series=(one,), exemplars=(exemplar(1, attributes=escaped),))
    )
    nul = "\0" if kind.keeps_nul else "\ufffd"
    found = stored_series(backend)[1]
    assert (found["metric_name"], found["service_name"]) == (shown, shown)
    assert found["attributes"] == {f"k{nul}": rf"\u0000 \{nul}"}
    reference = DictStore(keeps_nul=kind.keeps_nul)
    reference.write(Batch(exemplars=(exemplar(1, attributes=escaped),)))
    assert stored_exemplars(backend) == reference.exemplars


def test_a_series_without_a_service(backend: Backend) -> None:
    one = series(1, service_name=None)
    backend.write(Batch(new_series=(one,)))
    assert stored_series(backend) == {1: definition(one)}


def test_large_batches_arrive_whole_and_in_any_order(backend: Backend) -> None:
    batch = Batch(points=flood(20_000))
    reverse = Batch(points=flood(20_000, time=NOW + 3_600 * SECOND, ids=7))
    for column in ("series_id", "time_unix_nano", "value"):
        getattr(reverse.points, column)[:] = getattr(reverse.points, column)[::-1].copy()
    assert backend.write(batch) == WriteResult(stored=20_000)
    assert backend.write(reverse) == WriteResult(stored=20_000)
    assert stored_points(backend) == expected(batch, reverse).points


@pytest.mark.parametrize("rows", [1, 2, 3, 63, 64, 65, 1_000, 4_095, 4_096, 4_097, 5_500])
def test_no_size_of_a_batch_loses_or_repeats_a_row(backend: Backend, rows: int) -> None:
    batch = Batch(
        points=flood(rows, ids=rows),
        histograms=tuple(histogram(index) for index in range(rows // 8)),
        exemplars=tuple(exemplar(index) for index in range(rows // 8)),
    )
    assert backend.write(batch) == WriteResult(stored=rows + rows // 8)
    assert stored(backend) == expected(batch)


def test_an_empty_batch_changes_nothing(backend: Backend) -> None:
    assert backend.write(Batch()) == WriteResult(stored=0)
    assert stored(backend) == DictStore()
    assert count(backend, "metric_series") == 0


@settings(max_examples=40)
@given(st.lists(batches, max_size=4))
def test_any_batches_read_back_as_from_a_dict_store(
    new_store: StoreFactory, kind: Kind, written: list[Batch]
) -> None:
    if not kind.replaces:
        written = without_repeats(written)
    reference = DictStore(keeps_nul=kind.keeps_nul)
    with new_store() as backend:
        for batch in written:
            result = replace(
                backend.write(batch), altered_texts=0
            )  # tested in test_contract_altered_texts.py
            assert result == WriteResult(stored=reference.write(batch))
            assert stored(backend) == reference
