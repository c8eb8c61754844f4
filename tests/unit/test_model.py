"""Batches are merged and split without losing rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from kit.backends.samples import NOW, batch_of, exemplar, histogram, point, series, summary
from kit.backends.strategies import batches

from exporter.model import Batch, DeadLetter, Watermark

DEAD_LETTER = DeadLetter("point", "because", 1, None, NOW, "{}")
MIXED = batch_of(
    point(1),
    point(2),
    new_series=(series(1),),
    histograms=(histogram(3), histogram(4)),
    summaries=(summary(5),),
    exemplars=(exemplar(6), exemplar(7)),
    watermark=Watermark("a", 3),
    dead_letters=(DEAD_LETTER,),
)


def ids(batch: Batch) -> list[int]:
    rarer = (*batch.histograms, *batch.summaries, *batch.exemplars)
    return [*batch.points.series_id.tolist(), *(item.series_id for item in rarer)]


def test_take_returns_rows_by_position() -> None:
    part = MIXED.take(np.array([1, 2, 4, 6]))
    assert ids(part) == [2, 3, 5, 7]
    assert (part.new_series, part.watermark, part.dead_letters) == (
        MIXED.new_series,
        MIXED.watermark,
        MIXED.dead_letters,
    )


@given(batches, st.data())
def test_take_returns_the_rows_at_any_positions(batch: Batch, data: st.DataObject) -> None:
    chosen = sorted(data.draw(st.sets(st.integers(0, batch.rows - 1)))) if batch.rows else []
    part = batch.take(np.array(chosen, np.intp))
    assert ids(part) == [ids(batch)[index] for index in chosen]
    assert part.rows == len(chosen)


def test_without_series_keeps_watermark_and_dead_letters() -> None:
    rest = MIXED.without({1, 4, 7})
    assert ids(rest) == [2, 3, 5, 6]
    assert (rest.watermark, rest.dead_letters) == (MIXED.watermark, MIXED.dead_letters)


def test_merge_takes_the_last_watermark_and_all_dead_letters() -> None:
    later = replace(MIXED, watermark=Watermark("a", 4))
    merged = Batch.merge([MIXED, later, batch_of(point(9))])
    assert merged.watermark == Watermark("a", 4)
    assert merged.dead_letters == (DEAD_LETTER, DEAD_LETTER)
    assert merged.rows == 2 * MIXED.rows + 1
    assert Batch.merge([batch_of(point(1)), batch_of(point(2))]).watermark is None
