"""Where the backends of `KINDS` keep their data, for tests that run over them; a pytest plugin.

    store_kind    the backend, as `KINDS` describes it
    place         an empty folder or database of it, for one test

`new_place_of` and `new_store_of` make as many as are wanted, and `keys_of` says of a place what a
configuration would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest
from engines.databases import Databases

from exporter.backends.base import Backend
from kit.backends.kinds import KINDS, Kind, NewStore

__all__ = ["NewPlace", "keys_of", "new_place_of", "new_store_of", "place", "store_kind"]

NewPlace = Callable[[], AbstractContextManager[str]]


def new_place_of(
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


def new_store_of(kind: Kind, new_place: NewPlace) -> NewStore:
    """Makes a started, empty backend for the length of a `with` block."""

    @contextmanager
    def store() -> Iterator[Backend]:
        with new_place() as place, closing(kind.make(place)) as backend:
            backend.start()
            yield backend

    return store


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def place(
    store_kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with new_place_of(store_kind, request, tmp_path_factory)() as place:
        yield place


def keys_of(kind: Kind, place: str) -> dict[str, str]:
    """The keys of the configuration that lead to the store that `kind.make(place)` makes."""
    [name] = [name for name, one in KINDS.items() if one is kind]
    if name == "memory":
        return {"backend": name}
    return {
        "backend": name,
        "connection_string": f"sqlite:///{place}/store.db" if kind.server is None else place,
    }
