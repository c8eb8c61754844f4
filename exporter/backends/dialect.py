"""How one database's SQL differs from another's, as data."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SQLITE", "Dialect"]


@dataclass(frozen=True, slots=True)
class Dialect:
    """Snippets that `exporter.query` composes its statements from."""

    name: str


SQLITE = Dialect(name="sqlite")
