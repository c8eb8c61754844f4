"""The backends that the contract suite runs over. A new one is a new entry in `KINDS`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exporter.backends import open_backend
from exporter.backends.base import Backend

__all__ = ["KINDS", "Kind", "NewStore"]

NewStore = Callable[[], AbstractContextManager[Backend]]

_PLENTY: Final = 1_000_000


@dataclass(frozen=True)
class Kind:
    """How to make a backend for a folder of its own, and what it can do.

    Attributes:
        make: a backend, not started; the same folder means the same data.
        keeps: whether data outlives `close`.
    """

    make: Callable[[Path], Backend]
    keeps: bool


KINDS: Final = {
    "memory": Kind(lambda _: open_backend("memory", None, max_memory_entries=_PLENTY), keeps=False),
    "sqlite": Kind(
        lambda folder: open_backend(
            "sqlite", f"sqlite:///{folder}/store.db", max_memory_entries=_PLENTY
        ),
        keeps=True,
    ),
}
