"""Numbered migrations: the known ones in order, and those that a store lacks.

A backend runs what `pending` returns, and commits each migration with its record. The statements of
a released migration are never edited; a later migration corrects them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from exporter.errors import BackendRefusedError

_FILE_NAME: Final = re.compile(r"(?P<version>[0-9]{4})_(?P<name>[a-z0-9_]+)\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step from a schema version to the next."""

    version: int
    name: str
    sql: str


@cache
def load_migrations(dialect: str) -> tuple[Migration, ...]:
    """The migrations of a dialect, in order.

    Args:
        dialect: a folder under `sql/`, such as "sqlite".
    """
    folder = files("exporter.backends") / "sql" / dialect
    return sort_migrations(
        {
            entry.name: entry.read_text(encoding="utf-8")
            for entry in folder.iterdir()
            if _FILE_NAME.fullmatch(entry.name)
        }
    )


def sort_migrations(texts: Mapping[str, str]) -> tuple[Migration, ...]:
    """Migrations sorted by version.

    Args:
        texts: SQL by file name, `NNNN_name.sql`.

    Raises:
        BackendRefusedError: a name of another form, two files of one version, or a gap: a file of
            the installation is missing or does not belong there.
    """
    found = []
    for file_name, sql in texts.items():
        parts = _FILE_NAME.fullmatch(file_name)
        if parts is None:
            raise BackendRefusedError(
                f"migrations: {file_name!r} is not named NNNN_name.sql; reinstall the package"
            )
        found.append(Migration(int(parts["version"]), parts["name"], sql))
    found.sort(key=lambda migration: migration.version)
    versions = [migration.version for migration in found]
    if versions != list(range(1, len(found) + 1)):
        raise BackendRefusedError(
            f"migrations: found the versions {versions}, which should count up from 1 without "
            "gap or repetition; reinstall the package"
        )
    return tuple(found)


def pending(
    known: tuple[Migration, ...], applied: Iterable[int], location: str
) -> tuple[Migration, ...]:
    """The migrations that a store lacks, in the order in which to run them. Pure.

    Args:
        known: what `load_migrations` returned.
        applied: versions recorded in the store.
        location: where the store is, for the error.

    Raises:
        BackendRefusedError: the store has a version that is not known, or a gap in its versions.
    """
    recorded = sorted(applied)
    if recorded and recorded[-1] > len(known):
        raise BackendRefusedError(
            f"{location}: its schema has version {recorded[-1]}, and this exporter knows versions "
            f"up to {len(known)}; use the newer exporter that wrote it, or another store"
        )
    if recorded != list(range(1, len(recorded) + 1)):
        raise BackendRefusedError(
            f"{location}: schema_migrations lists the versions {recorded}, which should count up "
            "from 1 without gap; the table was changed by hand or the store is damaged"
        )
    return known[len(recorded) :]
