"""isolate_refused_rows finds the refused rows and no others, with few dry runs.

The store is a rule over values, in the place of a database.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
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

from exporter.backends.refused_rows import isolate_refused_rows
from exporter.errors import BackendRefusedError, BackendUnavailableError, RowRefusedError
from exporter.model import Batch, DeadLetter, Watermark

BAD = 13.0
WATERMARK = Watermark("receiver-1", 7)
EARLIER = DeadLetter("point", "refused before", 1, "x", NOW, "{}")


@dataclass
class Store:
    """Refuses rows with the value 13 and series with the unit "bad"; counts dry runs and rows."""

    dry_runs: int = 0
    rows: int = 0
    watermarks: set[Watermark | None] = field(default_factory=set)

    def dry_run(self, batch: Batch) -> None:
        self.dry_runs += 1
        self.rows += batch.rows
        self.watermarks.add(batch.watermark)
        assert batch.dead_letters == ()
        if any(one.unit == "bad" for one in batch.new_series):
            raise RowRefusedError("a bad unit")
        if BAD in values_of(batch):
            raise RowRefusedError("thirteen")


def values_of(batch: Batch) -> list[float | None]:
    rarer = [*(item.sum for item in (*batch.histograms, *batch.summaries))]
    return [*batch.points.value.tolist(), *rarer, *(item.value for item in batch.exemplars)]


def contents(batch: Batch) -> Counter[str]:
    """Every row and definition of a batch as text."""
    points = zip(
        batch.points.series_id.tolist(),
        batch.points.time_unix_nano.tolist(),
        batch.points.start_time_unix_nano.tolist(),
        map(repr, batch.points.value.tolist()),
        batch.points.recorded.tolist(),
        strict=True,
    )
    others = (*batch.histograms, *batch.summaries, *batch.exemplars, *batch.new_series)
    return Counter(map(repr, (*points, *others)))


def kinds(dead: list[DeadLetter]) -> list[tuple[str, int]]:
    return [(letter.kind, letter.series_id) for letter in dead]


def test_an_accepted_batch_is_returned_unchanged() -> None:
    store = Store()
    batch = replace(
        batch_of(point(1), new_series=(series(1),), exemplars=(exemplar(1),)),
        watermark=WATERMARK,
        dead_letters=(EARLIER,),
    )
    good, dead = isolate_refused_rows(batch, store.dry_run)
    assert dead == []
    assert contents(good) == contents(batch)
    assert (good.watermark, good.dead_letters) == (WATERMARK, (EARLIER,))
    assert store.dry_runs == 2  # the definitions, then all
    assert store.watermarks == {WATERMARK}


def test_an_empty_batch_needs_no_dry_run() -> None:
    store = Store()
    assert isolate_refused_rows(Batch(watermark=WATERMARK), store.dry_run)[0].watermark == WATERMARK
    assert store.dry_runs == 0


def test_one_refused_row_of_each_kind_is_removed_and_the_order_stays() -> None:
    batch = batch_of(
        *(point(1, NOW + n * SECOND, value=n) for n in range(20)),
        new_series=tuple(series(n) for n in range(1, 6)),
        histograms=(histogram(2), histogram(2, sum=BAD), exponential(3)),
        summaries=(summary(4, sum=BAD), summary(4)),
        exemplars=(exemplar(5), exemplar(5, value=2.0), exemplar(5, value=BAD)),
        watermark=WATERMARK,
    )
    good, dead = isolate_refused_rows(batch, Store().dry_run)
    assert kinds(dead) == [("point", 1), ("histogram", 2), ("summary", 4), ("exemplar", 5)]
    assert {letter.reason for letter in dead} == {"thirteen"}
    assert {letter.metric_name for letter in dead} == {"system.cpu.utilization"}
    assert dead[0].time_unix_nano == NOW + 13 * SECOND
    assert good.points.value.tolist() == [n for n in range(20) if n != BAD]
    assert good.histograms == (batch.histograms[0], batch.histograms[2])
    assert good.summaries == batch.summaries[1:]
    assert good.exemplars == batch.exemplars[:2]
    assert good.new_series == batch.new_series
    assert good.watermark == WATERMARK


def test_the_rows_of_a_refused_series_need_no_dry_run() -> None:
    store = Store()
    batch = batch_of(
        *(point(n % 4, NOW + n * SECOND, value=0.5) for n in range(4_000)),
        new_series=(series(0), series(1, unit="bad"), series(2), series(3)),
        histograms=(histogram(1), histogram(2)),
        exemplars=(exemplar(1),),
    )
    good, dead = isolate_refused_rows(batch, store.dry_run)
    assert Counter(kinds(dead)) == {
        ("series", 1): 1,
        ("point", 1): 1_000,
        ("histogram", 1): 1,
        ("exemplar", 1): 1,
    }
    assert dead[0].kind == "series"
    assert dead[0].reason == "a bad unit"
    assert json.loads(dead[0].content)["unit"] == "bad"
    assert all("letter of kind series" in letter.reason for letter in dead[1:])
    assert good.entries == 3_001
    assert [one.series_id for one in good.new_series] == [0, 2, 3]
    assert store.dry_runs <= 10


@pytest.mark.parametrize("place", [0, 1, 4_999, 8_191, 9_999])
def test_one_refused_row_of_ten_thousand_takes_few_dry_runs(place: int) -> None:
    points = replace(flood(10_000), value=np.zeros(10_000))
    points.value[place] = BAD
    store = Store()
    good, dead = isolate_refused_rows(Batch(points=points), store.dry_run)
    assert [json.loads(letter.content)["value"] for letter in dead] == [BAD]
    assert good.entries == 9_999
    assert store.dry_runs <= 2 * math.ceil(math.log2(10_000)) + 2
    assert store.rows <= 4.1 * 10_000


def test_all_rows_are_refused() -> None:
    batch = batch_of(*(point(1, NOW + n, value=BAD) for n in range(50)), watermark=WATERMARK)
    good, dead = isolate_refused_rows(batch, Store().dry_run)
    assert len(dead) == 50
    assert (good.rows, good.watermark) == (0, WATERMARK)


def test_a_row_that_is_refused_only_with_others_is_found() -> None:
    def unique_values(batch: Batch) -> None:
        if len(set(values_of(batch))) < batch.rows:
            raise RowRefusedError("twice")

    values = [1.0, 2.0, 1.0, 3.0, 2.0, 1.0, 4.0]
    batch = batch_of(*(point(1, NOW + n, value=value) for n, value in enumerate(values)))
    good, dead = isolate_refused_rows(batch, unique_values)
    assert good.points.value.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert [letter.time_unix_nano for letter in dead] == [NOW + n for n in (2, 4, 5)]
    assert {letter.reason for letter in dead} == {"twice"}


def test_a_dry_run_has_only_the_definitions_of_its_rows() -> None:
    seen: list[tuple[set[int], set[int]]] = []

    def dry_run(batch: Batch) -> None:
        if batch.rows:
            defined = {one.series_id for one in batch.new_series}
            seen.append((defined, set(batch.points.series_id.tolist())))
            if BAD in values_of(batch):
                raise RowRefusedError("thirteen")

    isolate_refused_rows(
        batch_of(
            *(point(n, value=n) for n in range(16)),
            new_series=tuple(series(n) for n in range(16)),
        ),
        dry_run,
    )
    assert all(defined == needed for defined, needed in seen)
    assert len(seen) > 5


@pytest.mark.parametrize("error", [BackendRefusedError("rights"), BackendUnavailableError("gone")])
def test_other_errors_are_raised(error: Exception) -> None:
    def dry_run(batch: Batch) -> None:
        if batch.rows < 4:
            raise error
        raise RowRefusedError("thirteen")

    with pytest.raises(type(error)) as caught:
        isolate_refused_rows(Batch(points=flood(8)), dry_run)
    assert caught.value is error


_values = st.sampled_from([BAD, 0.5, 1.0, 2.0, math.inf])
_ids = st.integers(0, 4)
_seconds = st.integers(0, 3).map(lambda second: NOW + second * SECOND)


def _some(make: Callable[..., Any], name: str) -> st.SearchStrategy[tuple[Any, ...]]:
    one = st.builds(
        lambda *what: make(what[0], what[1], **{name: what[2]}), _ids, _seconds, _values
    )
    return st.lists(one, max_size=6).map(tuple)


_batches = st.builds(
    lambda rows, **parts: batch_of(*rows, **parts, watermark=WATERMARK),
    st.lists(st.builds(point, _ids, _seconds, _values), max_size=30),
    new_series=st.lists(
        st.builds(lambda one, unit: series(one, unit=unit), _ids, st.sampled_from(["bad", "1"])),
        max_size=6,
    ).map(tuple),
    histograms=_some(histogram, "sum"),
    summaries=_some(summary, "sum"),
    exemplars=_some(exemplar, "value"),
)


@given(_batches)
def test_accepted_rows_and_dead_letters_together_are_the_batch(batch: Batch) -> None:
    store = Store()
    good, dead = isolate_refused_rows(batch, store.dry_run)
    Store().dry_run(good)
    lost = {one.series_id for one in batch.new_series if one.unit == "bad"}
    expected = [("series", one.series_id) for one in batch.new_series if one.series_id in lost]
    for kind, ids, values in (
        ("point", batch.points.series_id.tolist(), batch.points.value.tolist()),
        ("histogram", *_columns(batch.histograms, "sum")),
        ("summary", *_columns(batch.summaries, "sum")),
        ("exemplar", *_columns(batch.exemplars, "value")),
    ):
        expected += [
            (kind, one)
            for one, value in zip(ids, values, strict=True)
            if one in lost or value == BAD
        ]
    assert Counter(kinds(dead)) == Counter(expected)
    assert contents(good) <= contents(batch)
    assert sum(contents(good).values()) + len(dead) == batch.rows + len(batch.new_series)
    assert in_order(good, batch)


def _columns(items: tuple[Any, ...], name: str) -> tuple[list[int], list[float]]:
    return [item.series_id for item in items], [getattr(item, name) for item in items]


def in_order(part: Batch, whole: Batch) -> bool:
    """Whether the part is a subsequence of the whole."""
    for name in ("histograms", "summaries", "exemplars", "new_series"):
        rest = iter(getattr(whole, name))
        if not all(any(item is other for other in rest) for item in getattr(part, name)):
            return False
    rows = [
        list(zip(one.points.time_unix_nano, one.points.series_id, one.points.value, strict=True))
        for one in (part, whole)
    ]
    rest = iter(rows[1])
    return all(row in rest for row in rows[0])
