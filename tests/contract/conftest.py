"""Each test of this folder runs over all backends of `kit.backends.kinds`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from kit.backends.kinds import KINDS, Kind, StoreFactory
from kit.backends.locations import LocationFactory, location_factory, store_factory

from exporter.backends.base import Backend


@pytest.fixture(scope="session", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture(scope="session")
def new_location(
    kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LocationFactory:
    return location_factory(kind, request, tmp_path_factory)


@pytest.fixture(scope="session")
def new_store(kind: Kind, new_location: LocationFactory) -> StoreFactory:
    return store_factory(kind, new_location)


@pytest.fixture
def backend(new_store: StoreFactory) -> Iterator[Backend]:
    """A started, empty backend."""
    with new_store() as store:
        yield store


@pytest.fixture
def unopened(kind: Kind, new_location: LocationFactory) -> Iterator[Callable[[], Backend]]:
    """Creates backends with the same location, not started; closes them after the test."""
    made = []
    with new_location() as location:

        def make() -> Backend:
            made.append(kind.make(location))
            return made[-1]

        yield make
        for store in made:
            store.close()
