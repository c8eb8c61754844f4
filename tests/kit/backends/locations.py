"""Where the backends of `KINDS` store their data; a pytest plugin.

store_kind   the entry of `KINDS`
location     an empty folder or database of it, for one test
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from engines.databases import Databases

from exporter.backends.base import Backend
from kit.backends.kinds import KINDS, Kind, StoreFactory

LocationFactory = Callable[[], AbstractContextManager[str]]


def location_factory(
    kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> LocationFactory:
    """Creates an empty folder or database for the time of a `with` block."""
    if kind.server is not None:
        databases: Databases = request.getfixturevalue(kind.server)
        return databases.fresh

    @contextmanager
    def folder() -> Iterator[str]:
        yield str(tmp_path_factory.mktemp("store"))

    return folder


def store_factory(kind: Kind, new_location: LocationFactory) -> StoreFactory:
    """Creates a started, empty backend for the time of a `with` block."""

    @contextmanager
    def store() -> Iterator[Backend]:
        with new_location() as location, closing(kind.make(location)) as backend:
            backend.start()
            yield backend

    return store


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def location(
    store_kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with location_factory(store_kind, request, tmp_path_factory)() as location:
        yield location


def config_keys(kind: Kind, location: str) -> dict[str, str]:
    """The configuration keys of the backend that `kind.make(location)` creates."""
    [name] = [name for name, one in KINDS.items() if one is kind]
    if name == "memory":
        return {"backend": name}
    return {
        "backend": name,
        "connection_string": f"sqlite:///{location}/store.db" if kind.server is None else location,
    }
