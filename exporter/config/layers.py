"""Layers of configuration: the values of one source, where each was set, and the errors in it.

Each source (a component of the file, an environment variable, a flag) is validated on its own, so
that every error has one location. Afterwards the layers are merged by precedence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exporter.config.schema import KEYS, Configuration
from exporter.config.validation_errors import validation_errors
from exporter.config.yaml_document import KeyPath

_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Location:
    """Where a value was set: the source (`otel-config.yaml:12`, a variable) and the key there.

    `line` sorts the errors of a file; 0 if the source has no lines.
    """

    source: str
    key: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}: {self.key}" if self.key else self.source


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value as it was written, and its source."""

    value: object
    source: str


@dataclass(slots=True)
class Layer:
    """The values of one source, or of several merged ones.

    Attributes:
        values: valid values by key.
        invalid: keys that were set but hold an error.
        errors: every error and its location.
        warnings: settings that are accepted but have no effect or look wrong.
        takes_metrics: False only for a file whose one pipeline is for logs.
    """

    values: dict[tuple[str, ...], SourcedValue] = field(default_factory=dict)
    invalid: set[tuple[str, ...]] = field(default_factory=set)
    errors: list[tuple[Location, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    takes_metrics: bool = True

    def merge(self, upper: Layer) -> None:
        """Add everything of a layer of higher precedence."""
        self.values.update(upper.values)
        self.invalid |= upper.invalid
        self.errors += upper.errors
        self.warnings += upper.warnings

    def configuration(self) -> Configuration:
        """The valid values with their types, and defaults for all other keys."""
        # Values are kept as they were written, for messages, and converted again here.
        return Configuration.model_validate(
            nested({path: each.value for path, each in self.values.items()})
        )


def validated_layer(
    part: object, location: Callable[[KeyPath], Location], invalid: Iterable[KeyPath] = ()
) -> Layer:
    """Validate a part of a configuration.

    Args:
        part: nested mappings as in a file, under the plain names of the components.
        location: gives the location of the value at a path.
        invalid: paths of values that are missing from `part` because of an error that is already
            reported.
    """
    layer = Layer()
    known_invalid = list(invalid)
    layer.invalid = {key for key in KEYS if any(overlap(key, path) for path in known_invalid)}
    for path, message in validation_errors(Configuration, part):
        layer.invalid |= {key for key in KEYS if overlap(key, path)}
        # A value that could not be read is missing here; the missing value is not a second error.
        if not any(overlap(path, known) for known in known_invalid):
            layer.errors.append((location(path), message))
    for key in KEYS:
        value = _value_at(part, key)
        if value is not _MISSING and key not in layer.invalid:
            layer.values[key] = SourcedValue(value, location(key).source)
    return layer


def overlap(one: KeyPath, other: KeyPath) -> bool:
    """Whether one path is the other or a prefix of it."""
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


def nested(values: Mapping[tuple[str, ...], object]) -> dict[str, Any]:
    """Values by path as nested mappings."""
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
