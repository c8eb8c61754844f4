"""Sizes of a SQLite file, compared with those of the file system and of SQLite."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from kit.backends.samples import NOW, flood, point, points

from exporter.backends.memory import MemoryBackend
from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.sqlite.sizes import file_bytes, has_dbstat, read_sizes
from exporter.model import Batch


def test_the_wal_counts_as_size(backend: SQLiteBackend, path: Path) -> None:
    backend.write(Batch(points=flood(10_000)))
    wal = path.with_name("file.db-wal")
    assert wal.stat().st_size > 0
    assert backend.sizes().total_bytes == path.stat().st_size + wal.stat().st_size
    backend.close()
    assert file_bytes(path) == path.stat().st_size


def test_free_pages_are_reported(backend: SQLiteBackend) -> None:
    backend.write(Batch(points=flood(100_000)))
    assert backend.sizes().free_bytes == 0
    assert backend.delete_before(NOW + 100 * 1_000_000) == 10_000  # too few to shrink the file
    [(free,)] = backend.fetch("PRAGMA freelist_count")
    assert free > 0
    assert backend.sizes().free_bytes == free * 4_096


def test_a_read_only_backend_reports_sizes(backend: SQLiteBackend, path: Path) -> None:
    backend.write(Batch(points=points([point(1)])))
    with closing(SQLiteBackend(path, read_only=True)) as reader:
        reader.start()
        assert reader.sizes().tables == backend.sizes().tables
        assert reader.count_before(NOW + 1_000) == backend.count_before(NOW + 1_000)


def test_without_dbstat_only_the_total_size_is_known(backend: SQLiteBackend, path: Path) -> None:
    backend.write(Batch(points=flood(1_000)))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        sizes = read_sizes(connection, dbstat=False)
        assert {table.size_bytes for table in sizes.tables} == {None}
        assert sizes.tables[0].rows == 1_000
        [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
        assert sizes.total_bytes == pages * 4_096
        assert not connection.in_transaction


def test_has_dbstat_is_right_for_this_build(backend: SQLiteBackend, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        if has_dbstat(connection):
            sizes = read_sizes(connection, dbstat=True)
            assert all((table.size_bytes or 0) >= 4_096 for table in sizes.tables)
        else:
            with pytest.raises(sqlite3.OperationalError, match="dbstat"):
                read_sizes(connection, dbstat=True)
            assert not connection.in_transaction
    assert backend.sizes().series == 0


def test_memory_reports_the_bytes_of_its_pages() -> None:
    with closing(MemoryBackend(max_memory_entries=1_000)) as backend:
        backend.start()
        backend.write(Batch(points=flood(5_000)))
        sizes = backend.sizes()
        assert sizes.tables[0].rows == 1_000
        assert sizes.total_bytes >= 1_000 * 16
        assert sizes.free_bytes == 0
