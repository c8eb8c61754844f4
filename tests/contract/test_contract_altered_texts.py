"""Texts that a store cannot hold unchanged are counted once each, when they are stored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from kit.backends.kinds import Kind
from kit.backends.samples import NOW, batch_of, cost, exemplar, point, series

from exporter.backends.base import Backend
from exporter.model import Batch, DeadLetter, Watermark, WriteResult

TEXT, JSON = "a\0b", r'{"k\u0000":"\u0000"}'
# An escaped backslash and the replacement character: every store can hold these.
HARMLESS = batch_of(
    point(3),
    new_series=(series(3, metric_name="a\ufffdb", attributes=r'{"k":"\\u0000"}'),),
)
WITH_WATERMARK = replace(
    batch_of(point(1), point(2), new_series=(series(1, unit=TEXT, resource=JSON), series(2))),
    watermark=Watermark("receiver-1", 1),
)


def altered(kind: Kind, texts: int) -> int:
    return 0 if kind.keeps_nul else texts


def test_each_altered_text_counts_once(backend: Backend, kind: Kind) -> None:
    one = series(1, metric_name=TEXT, unit=TEXT, attributes=JSON)
    result = backend.write(batch_of(point(1), new_series=(one,)))
    assert result.altered_texts == altered(kind, 3)
    spans = (exemplar(1), exemplar(1, NOW + 1_000, span_id=TEXT, attributes=JSON))
    assert backend.write(Batch(exemplars=spans)).altered_texts == altered(kind, 2)
    one, other = (cost(entry_id, resource_id=TEXT, tags=JSON) for entry_id in ("e-1", "e-2"))
    result = backend.write(Batch(costs=(one, one, other)))
    assert result.altered_texts == altered(kind, 4)
    letter = DeadLetter("point", TEXT, 1, TEXT, NOW, "{}")
    assert backend.write(Batch(dead_letters=(letter,))).altered_texts == altered(kind, 2)


def test_points_and_unaltered_texts_do_not_count(backend: Backend) -> None:
    backend.write(WITH_WATERMARK)
    assert backend.write(batch_of(point(1, NOW + 1_000))) == WriteResult(stored=1)
    assert backend.write(HARMLESS) == WriteResult(stored=1)


def test_dry_runs_do_not_count_and_a_stored_batch_keeps_its_count(
    backend: Backend, kind: Kind
) -> None:
    backend.dry_run(WITH_WATERMARK)
    assert backend.write(HARMLESS).altered_texts == 0
    first = backend.write(WITH_WATERMARK)
    assert first == WriteResult(stored=2, altered_texts=altered(kind, 2))
    assert backend.write(WITH_WATERMARK) == replace(first, already_stored=True)


def test_a_batch_stored_by_an_earlier_process_does_not_count(
    unopened: Callable[[], Backend], kind: Kind
) -> None:
    first, second = unopened(), unopened()
    first.start()
    first.write(WITH_WATERMARK)
    first.close()
    second.start()
    assert second.write(WITH_WATERMARK).altered_texts == (0 if kind.keeps else altered(kind, 2))
