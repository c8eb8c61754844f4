"""Every test of this folder runs once for each backend of `kit.backends.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kit.backends.kinds import KINDS, Kind, NewStore
from kit.backends.places import NewPlace, new_place_of, new_store_of

from exporter.backends.base import Backend


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="session")
def new_place(
    kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> NewPlace:
    return new_place_of(kind, request, tmp_path_factory)


@pytest.fixture(scope="session")
def new_store(kind: Kind, new_place: NewPlace) -> NewStore:
    return new_store_of(kind, new_place)


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
