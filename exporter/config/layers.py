"""Settings that one source gives: values by key, where each stands, and what is wrong.

A source (a component of the file, an environment variable, a flag) is checked on its own, so
that every mistake has one place, and is laid over the others afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.config.document import KeyPath
from exporter.config.mistakes import mistakes_in
from exporter.config.schema import KEYS, Configuration

__all__ = ["Given", "Layer", "Place", "Problem", "nested", "overlap", "read_layer"]

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands: a source (`otel-config.yaml:12`, a variable), and the key there.

    `line` puts the mistakes of a file into its order; 0 where there are no lines.
    """

    source: str
    key: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}: {self.key}" if self.key else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, and where it was made."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


@dataclass(frozen=True, slots=True)
class Given:
    """A value as it was written, and where."""

    value: object
    source: str


@dataclass(slots=True)
class Layer:
    """What one source, or several laid over each other, give.

    Attributes:
        given: sound values by key.
        broken: keys that were given but hold a mistake.
        problems: every mistake.
        warnings: what is accepted and yet worth a look.
        takes_metrics: whether metrics are wanted; only a file whose one pipeline is for logs says
            no.
    """

    given: dict[tuple[str, ...], Given] = field(default_factory=dict)
    broken: set[tuple[str, ...]] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    takes_metrics: bool = True

    def lay_over(self, upper: Layer) -> None:
        """Take everything from a source of higher precedence."""
        self.given.update(upper.given)
        self.broken |= upper.broken
        self.problems += upper.problems
        self.warnings += upper.warnings

    def configuration(self) -> Configuration:
        """The values with their types, and defaults for the rest."""
        return Configuration.model_validate(
            nested({path: given.value for path, given in self.given.items()})
        )


def read_layer(
    part: object, place: Callable[[KeyPath], Place], unreadable: Iterable[KeyPath] = ()
) -> Layer:
    """Check a part of a configuration.

    Args:
        part: mappings in each other as in a file, under the plain names of the components.
        place: tells where the value of a path stands.
        unreadable: paths of values that are not in `part` because of a mistake reported already.
    """
    layer = Layer()
    gaps = list(unreadable)
    layer.broken = {key for key in KEYS if any(overlap(key, gap) for gap in gaps)}
    for mistake in mistakes_in(Configuration, part):
        layer.broken |= {key for key in KEYS if overlap(key, mistake.path)}
        if not any(overlap(mistake.path, gap) for gap in gaps):
            layer.problems.append(Problem(place(mistake.path), mistake.message))
    for key in KEYS:
        value = _value_at(part, key)
        if value is not _MISSING and key not in layer.broken:
            layer.given[key] = Given(value, place(key).source)
    return layer


def overlap(one: KeyPath, other: KeyPath) -> bool:
    """Whether one path is the other or leads to it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def nested(values: Mapping[tuple[str, ...], object]) -> dict[str, Any]:
    """Values by path as mappings in each other."""
    root: dict[str, Any] = {}
    for path, value in values.items():
        inner = root
        for part in path[:-1]:
            inner = inner.setdefault(part, {})
        inner[path[-1]] = value
    return root


def _value_at(part: object, key: tuple[str, ...]) -> object:
    for name in key:
        if not isinstance(part, dict) or name not in part:
            return _MISSING
        part = part[name]
    return part
