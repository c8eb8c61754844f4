"""Connection strings, Node.js and its packages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from engines.dsn import database_of, with_database
from engines.errors import EngineError
from engines.node import Node, install_packages

PGLITE_SERVER = Path(__file__).resolve().parents[1] / "engines" / "pglite_server"


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        ("postgresql://localhost/a", "postgresql://localhost/new"),
        ("postgres://me:p%40ss@[::1]:5433/a", "postgresql://me:p%40ss@[::1]:5433/new"),
        ("host=db port=5433 dbname=a user=me", "postgresql://me@db:5433/new"),
        (
            "postgresql://db/a?application_name=my%20tests&sslmode=require",
            "postgresql://db/new?application_name=my%20tests&sslmode=require",
        ),
        ("host=/run/pg user=me", "postgresql://me@/new?host=%2Frun%2Fpg"),
        ("", "postgresql:///new"),
    ],
    ids=["uri", "password", "pairs", "options", "socket", "empty"],
)
def test_with_database(dsn: str, expected: str) -> None:
    assert with_database(dsn, "new") == expected
    assert database_of(expected) == "new"


def test_names_of_databases_are_quoted() -> None:
    assert database_of(with_database("host=db", "a/b c")) == "a/b c"


def test_an_invalid_connection_string_is_refused() -> None:
    with pytest.raises(EngineError, match="the connection string is not valid"):
        with_database("postgresql//localhost", "new")


def test_node_of_the_wheel_without_node_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert int(Node.find().version.split(".")[0]) >= 20


def test_packages_are_installed_once_for_each_lock_file(tmp_path: Path) -> None:
    node = Node.find()
    modules = install_packages(node, PGLITE_SERVER, tmp_path)
    assert (modules / "@unni-craftsman" / "pglite" / "package.json").is_file()
    broken = Node(node.program, (tmp_path / "no-npm",), node.version)
    assert install_packages(broken, PGLITE_SERVER, tmp_path) == modules
    assert [entry.name for entry in tmp_path.iterdir()] == [modules.parent.name]


def test_a_failed_installation_leaves_nothing(tmp_path: Path) -> None:
    lists, cache = tmp_path / "lists", tmp_path / "cache"
    shutil.copytree(PGLITE_SERVER, lists)
    (lists / "package-lock.json").write_text("{}")
    with pytest.raises(EngineError, match="npm ci ended with 1"):
        install_packages(Node.find(), lists, cache)
    assert list(cache.iterdir()) == []
