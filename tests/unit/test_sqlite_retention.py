"""Deleting in steps, and truncating the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from kit.backends.samples import NOW, SECOND, flood
from kit.backends.stored_rows import count

from exporter.backends.retention import limits_by_table
from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.sqlite.retention import delete_expired
from exporter.model import Batch


def pages(backend: SQLiteBackend) -> tuple[int, int]:
    """The number of pages of the file, and of its free pages."""
    [(all_pages,)] = backend.fetch("PRAGMA page_count")
    [(free,)] = backend.fetch("PRAGMA freelist_count")
    return all_pages, free


def size_when_closed(backend: SQLiteBackend) -> int:
    backend.close()
    return Path(backend.location).stat().st_size


def test_the_file_is_truncated_when_most_rows_are_deleted(backend: SQLiteBackend) -> None:
    backend.write(Batch(points=flood(200_000)))
    before, _ = pages(backend)
    assert backend.delete_before(NOW + 1_900 * 1_000_000) == 190_000
    after, free = pages(backend)
    assert after < before / 4
    assert free <= after / 4
    assert size_when_closed(backend) == after * 4_096


def test_a_little_free_space_stays_for_the_next_rows(backend: SQLiteBackend) -> None:
    backend.write(Batch(points=flood(200_000)))
    before, _ = pages(backend)
    assert backend.delete_before(NOW + 200 * 1_000_000) == 20_000
    after, free = pages(backend)
    assert after == before
    assert free > 0
    backend.write(Batch(points=flood(10_000, time=NOW + 3_600 * SECOND)))
    assert pages(backend)[0] == before


def test_a_store_without_auto_vacuum_keeps_its_size(backend: SQLiteBackend, path: Path) -> None:
    backend.write(Batch(points=flood(50_000)))
    backend.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = delete")
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    backend.start()
    before, _ = pages(backend)
    assert backend.delete_before(NOW + 3_600 * SECOND) == 50_000
    after, free = pages(backend)
    assert after == before
    assert free > before / 2
    assert count(backend) == 0


def test_each_step_deletes_a_limited_number_of_rows(backend: SQLiteBackend, path: Path) -> None:
    backend.write(Batch(points=flood(100_000, ids=3)))
    steps: list[int] = []
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:

        @contextmanager
        def reader() -> Iterator[sqlite3.Connection]:
            yield connection

        @contextmanager
        def writer() -> Iterator[sqlite3.Connection]:
            before = connection.total_changes
            yield connection
            assert not connection.in_transaction
            steps.append(connection.total_changes - before)

        deleted = delete_expired(reader, writer, limits_by_table(NOW + 3_600 * SECOND, None))
    assert deleted == sum(steps) == 100_000
    # 20,000, and the rows with the time of the last one
    assert max(steps) <= 20_002
