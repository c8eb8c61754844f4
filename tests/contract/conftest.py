"""Every test of this folder runs once for each backend of `backend_kit.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from backend_kit.kinds import KINDS, Kind, NewStore

from exporter.backends.base import Backend


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="session")
def new_store(kind: Kind, tmp_path_factory: pytest.TempPathFactory) -> NewStore:
    """Makes a started, empty backend for the length of a `with` block."""

    @contextmanager
    def store() -> Iterator[Backend]:
        backend = kind.make(tmp_path_factory.mktemp("store"))
        backend.start()
        try:
            yield backend
        finally:
            backend.close()

    return store


@pytest.fixture
def backend(new_store: NewStore) -> Iterator[Backend]:
    """A started, empty backend."""
    with new_store() as store:
        yield store


@pytest.fixture
def unopened(kind: Kind, tmp_path: Path) -> Iterator[Callable[[], Backend]]:
    """Makes backends of one and the same data, not started; closes them in the end."""
    made = []

    def make() -> Backend:
        made.append(kind.make(tmp_path))
        return made[-1]

    yield make
    for store in made:
        store.close()
