"""A file and a store for tests of SQLite files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from exporter.backends.sqlite import SQLiteBackend


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "file.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    """A started backend that stores in the file."""
    with closing(SQLiteBackend(path)) as opened:
        opened.start()
        yield opened
