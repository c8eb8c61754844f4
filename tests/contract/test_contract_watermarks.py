"""Watermarks: a batch with one is stored once, and advances that of its writer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.backends.kinds import Kind, StoreFactory
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    exemplar,
    exponential,
    histogram,
    point,
    series,
    summary,
)
from kit.backends.stored_rows import count, count_all_rows, stored

from exporter.backends.base import Backend
from exporter.errors import ExporterError
from exporter.model import Batch, DeadLetter, Watermark, WriteResult

Unopened = Callable[[], Backend]
WRITER = "receiver-1"
DAY = 86_400 * SECOND
LETTER = DeadLetter("point", "because", 1, None, NOW, "{}")


def watermarked(sequence: int, writer_id: str = WRITER) -> Batch:
    at = NOW + sequence * SECOND
    return batch_of(
        point(1, at),
        point(2, at, start=NOW),
        new_series=(series(1),),
        histograms=(histogram(3, at), exponential(4, at)),
        summaries=(summary(5, at),),
        exemplars=(exemplar(3, at),),
        watermark=Watermark(writer_id, sequence),
    )


def test_a_batch_written_twice_is_stored_once(backend: Backend) -> None:
    batch = replace(watermarked(1), dead_letters=(LETTER,))
    assert backend.write(batch) == WriteResult(stored=5)
    before = stored(backend)
    for _ in range(2):
        assert backend.write(batch) == WriteResult(stored=5, already_stored=True)
    assert count_all_rows(backend) == 6
    assert count(backend, "dead_letters") == 1
    assert stored(backend) == before


def test_an_equal_batch_with_a_later_watermark_is_another_batch(
    backend: Backend, kind: Kind
) -> None:
    for sequence in (1, 2):
        batch = replace(watermarked(1), watermark=Watermark(WRITER, sequence))
        assert backend.write(batch) == WriteResult(stored=5)
    assert count(backend) == (2 if kind.replaces else 4)


def test_a_batch_before_the_watermark_is_not_stored(backend: Backend) -> None:
    backend.write(watermarked(7))
    assert backend.write(watermarked(3)).already_stored
    assert backend.last_sequence(WRITER) == 7
    assert count(backend) == 2


def test_a_batch_may_hold_no_rows_and_still_advances_the_watermark(backend: Backend) -> None:
    assert backend.write(Batch(watermark=Watermark(WRITER, 9))) == WriteResult(stored=0)
    assert backend.last_sequence(WRITER) == 9


def test_writers_are_independent(backend: Backend) -> None:
    backend.write(watermarked(5))
    assert not backend.write(watermarked(2, "receiver-2")).already_stored
    assert backend.last_sequence(WRITER) == 5
    assert backend.last_sequence("receiver-2") == 2
    assert backend.last_sequence("receiver-3") == 0


def test_a_batch_is_stored_after_its_writer_read_the_watermark(backend: Backend) -> None:
    assert backend.last_sequence(WRITER) == 0
    assert backend.write(watermarked(1)) == WriteResult(stored=5)
    assert backend.last_sequence(WRITER) == 1


def test_the_largest_sequence(backend: Backend) -> None:
    backend.write(watermarked(1))
    backend.write(Batch(watermark=Watermark(WRITER, 2**63 - 1)))
    assert backend.last_sequence(WRITER) == 2**63 - 1


def test_a_watermark_survives_a_restart(unopened: Unopened, kind: Kind) -> None:
    first = unopened()
    first.start()
    first.write(watermarked(4))
    first.close()
    second = unopened()
    second.start()
    assert second.last_sequence(WRITER) == (4 if kind.keeps else 0)
    assert second.write(watermarked(4)).already_stored is kind.keeps


def test_a_failed_write_leaves_the_watermark(backend: Backend) -> None:
    backend.write(watermarked(1))
    bad = replace(watermarked(2), histograms=(histogram(3, count=2**63),))
    with pytest.raises(ExporterError):
        backend.write(bad)
    assert backend.last_sequence(WRITER) == 1
    assert backend.write(watermarked(2)) == WriteResult(stored=5)
    assert backend.last_sequence(WRITER) == 2


def test_a_dry_run_stores_nothing_and_leaves_the_watermark(backend: Backend) -> None:
    backend.write(watermarked(1))
    before = stored(backend)
    backend.dry_run(replace(watermarked(2), new_series=(series(8),), dead_letters=(LETTER,)))
    assert stored(backend) == before
    assert count(backend, "dead_letters") == 0
    assert backend.last_sequence(WRITER) == 1
    assert backend.write(watermarked(2)) == WriteResult(stored=5)


def test_watermarks_are_deleted_a_year_after_their_rows(backend: Backend) -> None:
    backend.write(watermarked(1))
    now = time.time_ns()
    backend.delete_before(now + 364 * DAY)
    assert backend.last_sequence(WRITER) == 1
    backend.delete_before(now + 366 * DAY)
    assert backend.last_sequence(WRITER) == 0


@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 6), st.booleans()), max_size=15)
)
def test_any_attempts_equal_a_dict_ledger(
    new_store: StoreFactory, attempts: list[tuple[str, int, bool]]
) -> None:
    reached: dict[str, int] = {}
    rows = 0
    with new_store() as backend:
        for place, (writer_id, sequence, for_real) in enumerate(attempts):
            batch = batch_of(
                point(1, NOW + place * SECOND), watermark=Watermark(writer_id, sequence)
            )
            if not for_real:
                backend.dry_run(batch)
                continue
            is_new = sequence > reached.get(writer_id, 0)
            assert backend.write(batch).already_stored is not is_new
            reached[writer_id] = max(sequence, reached.get(writer_id, 0))
            rows += is_new
        assert count(backend) == rows
        for writer_id in ("a", "b"):
            assert backend.last_sequence(writer_id) == reached.get(writer_id, 0)
