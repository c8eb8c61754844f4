"""Fixtures of tests that run once for each backend of `KINDS`; a pytest plugin.

    store_kind    the backend, as `KINDS` describes it
    place         an empty folder or database of it, for one test

`keys_of` says the same as a configuration does.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from engines.databases import Databases

from backend_kit.kinds import KINDS, Kind

__all__ = ["keys_of", "place", "store_kind"]


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


@pytest.fixture
def place(
    store_kind: Kind, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if store_kind.server is None:
        yield str(tmp_path_factory.mktemp("place"))
        return
    databases: Databases = request.getfixturevalue(store_kind.server)
    with databases.fresh() as dsn:
        yield dsn


def keys_of(kind: Kind, place: str) -> dict[str, str]:
    """The keys of the configuration that lead to the store that `kind.make(place)` makes."""
    [name] = [name for name, one in KINDS.items() if one is kind]
    if name == "memory":
        return {"backend": name}
    return {
        "backend": name,
        "connection_string": f"sqlite:///{place}/store.db" if kind.server is None else place,
    }
