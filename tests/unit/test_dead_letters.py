"""Dead letters have all fields of the refused row, in text that every database accepts."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from kit.backends.samples import NOW, batch_of, exemplar, exponential, point, series, summary
from kit.backends.strategies import batches

from exporter.backends.dead_letters import dead_letter_of_series, dead_letters_of_rows
from exporter.model import Batch


def test_a_point_has_the_field_names_of_the_model() -> None:
    [letter] = dead_letters_of_rows(batch_of(point(3, value=0.5, start=9)), "too low", {3: "cpu"})
    assert (letter.kind, letter.series_id, letter.metric_name) == ("point", 3, "cpu")
    assert (letter.reason, letter.time_unix_nano) == ("too low", NOW)
    assert json.loads(letter.content) == {
        "series_id": 3,
        "time_unix_nano": NOW,
        "start_time_unix_nano": 9,
        "value": 0.5,
        "recorded": True,
    }


@pytest.mark.parametrize(
    ("value", "name"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_nan_and_infinities_are_named(value: float, name: str) -> None:
    batch = batch_of(point(1, value=value), summaries=(summary(1, values=(value, 1.0)),))
    first, second = (json.loads(one.content) for one in dead_letters_of_rows(batch, "", {}))
    assert first["value"] == name
    assert second["values"] == [name, 1.0]


def test_nested_fields_of_a_histogram_are_included() -> None:
    [letter] = dead_letters_of_rows(Batch(histograms=(exponential(1, scale=5),)), "", {})
    assert json.loads(letter.content)["exponential"]["scale"] == 5


def test_a_series_is_complete_and_its_name_column_is_shortened() -> None:
    one = series(7, metric_name="n" * 10_000)
    letter = dead_letter_of_series(one, "too long")
    assert (letter.kind, letter.series_id, letter.time_unix_nano) == ("series", 7, None)
    assert letter.metric_name == "n" * 500
    assert json.loads(letter.content) == asdict(one)
    [row] = dead_letters_of_rows(batch_of(point(7)), "", {7: one.metric_name})
    assert row.metric_name == "n" * 500


def test_lone_surrogates_are_stored_and_read_back() -> None:
    [letter] = dead_letters_of_rows(
        Batch(exemplars=(exemplar(1, attributes='{"a":"\ud800"}'),)), "found \ud800", {1: "\ud800"}
    )
    for text in (letter.reason, letter.metric_name, letter.content):
        assert (text or "").encode()
    assert json.loads(letter.content)["attributes"] == '{"a":"\ud800"}'


def test_non_ascii_text_is_not_escaped() -> None:
    letter = dead_letter_of_series(series(1, description="Größe"), "")
    assert "Größe" in letter.content


@given(batches)
def test_each_row_has_one_dead_letter_with_json_content(batch: Batch) -> None:
    letters = list(dead_letters_of_rows(batch, "why", {}))
    assert len(letters) == batch.rows
    for letter in letters:
        fields = json.loads(letter.content, parse_constant=pytest.fail)
        assert fields["series_id"] == letter.series_id
        assert fields["time_unix_nano"] == letter.time_unix_nano
        assert "\0" not in letter.content
