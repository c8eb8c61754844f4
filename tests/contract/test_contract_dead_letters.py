"""A row that the database refuses is found by dry runs and becomes a dead letter."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from typing import Any, Protocol

import pytest
from kit.backends.kinds import Kind
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
from kit.backends.stored_rows import count, count_all_rows, stored, stored_points, stored_series

from exporter.backends.base import Backend
from exporter.backends.refused_rows import isolate_refused_rows
from exporter.errors import BackendRefusedError, RowRefusedError
from exporter.model import Batch, DeadLetter, Watermark, WriteResult

WATERMARK = Watermark("receiver-1", 5)
DAY = 86_400 * SECOND
TOO_LARGE = 2**63
NO_TEXT = "\ud800"  # a lone surrogate: no database accepts it


class Changed(Protocol):
    """A started backend, after a user's SQL ran on its location."""

    def __call__(self, *statements: str) -> AbstractContextManager[Backend]: ...


@pytest.fixture
def changed(kind: Kind, new_location: Any) -> Changed:
    change = kind.change
    if change is None:
        pytest.skip("nobody else can change what is in this process's memory")

    @contextmanager
    def store(*statements: str) -> Iterator[Backend]:
        with new_location() as location:
            backend = kind.make(location)
            backend.start()
            for statement in statements:
                change(location, statement)
            try:
                yield backend
            finally:
                backend.close()

    return store


def letters(backend: Backend) -> list[tuple[Any, ...]]:
    at = backend.dialect.micros.format(time="timestamp")
    return backend.fetch(
        f"SELECT kind, series_id, metric_name, {at}, reason, content FROM dead_letters "  # noqa: S608 - a fixed expression
        "ORDER BY letter_id"
    )


def assert_refused(backend: Backend, batch: Batch) -> None:
    """A dry run and a write raise the same error, and nothing is stored."""
    before = stored(backend)
    for call in (backend.dry_run, backend.write, backend.dry_run):
        with pytest.raises(RowRefusedError, match="storing a batch failed"):
            call(batch)
    assert stored(backend) == before
    assert count(backend, "dead_letters") == 0
    assert backend.last_sequence(WATERMARK.writer_id) == 0


def store_the_rest(backend: Backend, batch: Batch) -> tuple[Batch, list[DeadLetter]]:
    """As the pipeline does, and once more, as after a lost reply."""
    good, dead = isolate_refused_rows(batch, backend.dry_run)
    repaired = replace(good, dead_letters=tuple(dead))
    assert backend.write(repaired) == WriteResult(stored=good.entries)
    assert backend.write(repaired) == WriteResult(stored=good.entries, already_stored=True)
    assert backend.last_sequence(WATERMARK.writer_id) == WATERMARK.sequence
    return good, dead


def test_a_row_out_of_range_becomes_a_dead_letter(backend: Backend) -> None:
    batch = batch_of(
        *(point(1, NOW + n * SECOND, value=n) for n in range(30)),
        new_series=(series(1), series(2), series(3)),
        histograms=(histogram(2), histogram(2, NOW + 1_000, count=TOO_LARGE), exponential(2, 3)),
        summaries=(summary(3), summary(3, NOW + 1_000, count=TOO_LARGE)),
        exemplars=(exemplar(2), exemplar(2, trace_id=NO_TEXT)),
        watermark=WATERMARK,
    )
    assert_refused(backend, batch)
    good, dead = store_the_rest(backend, batch)
    assert [letter.kind for letter in dead] == ["histogram", "summary", "exemplar"]
    assert good.rows == batch.rows - 3
    assert count_all_rows(backend) == good.rows
    assert len(stored_series(backend)) == 3
    found = letters(backend)
    assert [row[:4] for row in found] == [
        ("histogram", 2, "system.cpu.utilization", NOW // 1_000 + 1),
        ("summary", 3, "system.cpu.utilization", NOW // 1_000 + 1),
        ("exemplar", 2, "system.cpu.utilization", NOW // 1_000),
    ]
    assert [row[4:] for row in found] == [(letter.reason, letter.content) for letter in dead]
    assert json.loads(found[0][5])["count"] == TOO_LARGE


def test_the_rows_of_a_refused_series_become_dead_letters(backend: Backend) -> None:
    bad = series(2, description=NO_TEXT)
    batch = batch_of(
        *(point(n % 3, NOW + n * SECOND) for n in range(30)),
        new_series=(series(0), series(1), bad),
        exemplars=(exemplar(2),),
        watermark=WATERMARK,
    )
    assert_refused(backend, batch)
    store_the_rest(backend, batch)
    assert stored_series(backend).keys() == {0, 1}
    assert {series_id for _, series_id in stored_points(backend)} == {0, 1}
    found = letters(backend)
    assert [row[0] for row in found] == ["series", *["point"] * 10, "exemplar"]
    assert {row[1] for row in found} == {2}
    assert json.loads(found[0][5]) == asdict(bad)
    assert found[0][3] is None
    assert backend.fetch("SELECT count(DISTINCT written_at) FROM dead_letters") == [(1,)]


def test_a_dead_letter_has_the_stored_name_of_its_metric(backend: Backend) -> None:
    backend.write(batch_of(point(1), new_series=(series(1, metric_name="known"),)))
    batch = Batch(
        histograms=(histogram(1, count=TOO_LARGE), histogram(9, count=TOO_LARGE)),
        watermark=WATERMARK,
    )
    store_the_rest(backend, batch)
    assert [row[2] for row in letters(backend)] == ["known", None]


@pytest.mark.parametrize("means", [0, 1])
def test_a_row_refused_by_a_constraint_or_trigger_becomes_a_dead_letter(
    changed: Changed, kind: Kind, means: int
) -> None:
    if means >= len(kind.refuse_thirteen):
        pytest.skip("this database has no other means")
    batch = batch_of(
        *(point(1, NOW + n * SECOND, value=n) for n in range(100)),
        new_series=(series(1),),
        histograms=(histogram(1),),
        watermark=WATERMARK,
    )
    with changed(kind.refuse_thirteen[means]) as backend:
        assert_refused(backend, batch)
        store_the_rest(backend, batch)
        assert {value for value, _ in stored_points(backend).values()} == set(range(100)) - {13}
        [(row_kind, *_, at, reason, content)] = letters(backend)
        assert (row_kind, at) == ("point", NOW // 1_000 + 13_000_000)
        assert "thirteen" in reason
        assert json.loads(content)["value"] == 13.0
        # The writer continues after the row was isolated.
        later = batch_of(point(1, NOW + 200 * SECOND), watermark=Watermark(WATERMARK.writer_id, 6))
        assert backend.write(later) == WriteResult(stored=1)


def test_a_name_too_long_for_an_index_becomes_a_dead_letter(backend: Backend, kind: Kind) -> None:
    if kind.server is None:
        pytest.skip("its index takes a name of any length")
    name = random.Random(1).randbytes(10_000).hex()  # random, so it does not compress
    batch = batch_of(
        point(1),
        point(2),
        new_series=(series(1), series(2, metric_name=name)),
        watermark=WATERMARK,
    )
    assert_refused(backend, batch)
    store_the_rest(backend, batch)
    assert set(stored_points(backend)) == {(NOW // 1_000, 1)}
    found = letters(backend)
    assert [row[:3] for row in found] == [("series", 2, name[:500]), ("point", 2, name[:500])]
    assert json.loads(found[0][5])["metric_name"] == name


def test_a_missing_table_refuses_no_row(changed: Changed) -> None:
    with changed("DROP TABLE metric_exemplars") as backend:
        for call in (backend.dry_run, backend.write):
            with pytest.raises(BackendRefusedError, match="metric_exemplars") as caught:
                call(Batch(new_series=(series(1),), exemplars=(exemplar(1),)))
            assert not isinstance(caught.value, RowRefusedError)


def test_dead_letters_are_counted_and_deleted_by_written_at(backend: Backend) -> None:
    began = time.time_ns() // 1_000 * 1_000 - SECOND
    old = DeadLetter("point", "because", 1, "name", 1_000, '{"value": "NaN"}')
    backend.write(Batch(dead_letters=(old, replace(old, kind="series", time_unix_nano=None))))
    size = {table.table: table for table in backend.sizes().tables}["dead_letters"]
    assert (size.rows, size.rows_are_exact, size.partitions) == (2, True, None)
    assert size.oldest_unix_nano is not None
    assert began <= size.oldest_unix_nano <= (size.newest_unix_nano or 0) <= time.time_ns() + DAY
    assert size.size_bytes is None or size.size_bytes > 0
    assert letters(backend)[0][5] == '{"value": "NaN"}'
    assert backend.count_before(began)["dead_letters"] == 0
    assert backend.delete_before(began) == 0
    later = time.time_ns() + DAY
    assert backend.count_before(later)["dead_letters"] == 2
    assert backend.delete_before(later) == 2
    assert letters(backend) == []


def test_nul_in_a_dead_letter_is_stored_or_replaced(backend: Backend, kind: Kind) -> None:
    batch = Batch(exemplars=(exemplar(1, attributes='{"a":"\\u0000"}', trace_id=NO_TEXT),))
    _, dead = isolate_refused_rows(batch, backend.dry_run)
    backend.write(Batch(dead_letters=(replace(dead[0], reason="a\0b", metric_name="c\0d"),)))
    [row] = letters(backend)
    nul = "\0" if kind.keeps_nul else "\ufffd"
    assert (row[2], row[4]) == (f"c{nul}d", f"a{nul}b")
    assert json.loads(row[5])["attributes"] == '{"a":"\\u0000"}'
