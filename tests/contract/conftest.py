"""Every test of this folder runs once for each backend of `backend_kit.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from backend_kit.kinds import KINDS, Kind, NewStore
from engines.databases import Databases

from exporter.backends.base import Backend

NewPlace = Callable[[], AbstractContextManager[str]]


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="session")
def new_place(
    kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewPlace:
    """Makes an empty folder or database for the length of a `with` block."""
    if kind.server is not None:
        databases: Databases = request.getfixturevalue(kind.server)
        return databases.fresh

    @contextmanager
    def folder() -> Iterator[str]:
        yield str(tmp_path_factory.mktemp("store"))

    return folder


@pytest.fixture(scope="session")
def new_store(kind: Kind, new_place: NewPlace) -> NewStore:
    """Makes a started, empty backend for the length of a `with` block."""

    @contextmanager
    def store() -> Iterator[Backend]:
        with new_place() as place:
            backend = kind.make(place)
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
def unopened(kind: Kind, new_place: NewPlace) -> Iterator[Callable[[], Backend]]:
    """Makes backends of one and the same data, not started; closes them in the end."""
    made = []
    with new_place() as place:

        def make() -> Backend:
            made.append(kind.make(place))
            return made[-1]

        yield make
        for store in made:
            store.close()
