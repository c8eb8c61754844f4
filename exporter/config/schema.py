"""The root of the configuration: all sections, all keys, and their environment variables.

The sections say what a user may write; `settings.Settings` is what the exporter runs with.
Each key is declared once, with the texts of its error messages and of docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo

from exporter.config import parsers
from exporter.config.exporter_keys import Exporters
from exporter.config.fields import (
    Count,
    OptionalCount,
    OptionalDuration,
    Section,
    key,
    texts_of,
)
from exporter.config.receiver_keys import Extensions, Receivers
from exporter.time_units import SECONDS_PER_DAY


class Batch(Section):
    """The Collector's batch processor; keys that are not set keep the exporter's own defaults."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "metadata_cardinality_limit": "request metadata is not kept",
        "metadata_keys": "request metadata is not kept",
    }

    timeout: OptionalDuration = key(
        None,
        "Another name for batch_interval_seconds.",
        allowed="a duration with its unit, from 1ms to 24h, such as 10s",
        le=SECONDS_PER_DAY,
    )
    send_batch_size: OptionalCount = key(None, "Another name for batch_size.", ge=1, le=1_000_000)
    send_batch_max_size: Count = key(
        0,
        "Accepted, without effect: under load batches grow instead of waiting.",
        allowed="0, or a whole number that is at least send_batch_size",
        ge=0,
        le=2**32 - 1,
    )

    @model_validator(mode="after")
    def _max_size_is_not_below_size(self) -> Self:
        if 0 < self.send_batch_max_size < (self.send_batch_size or 0):
            raise ValueError(
                f"send_batch_max_size is {self.send_batch_max_size} and send_batch_size is "
                f"{self.send_batch_size}; the first must be 0 or at least the second"
            )
        return self


class Processors(Section):
    """Processing between receiver and exporter."""

    batch: Batch = Batch()


class Logs(Section):
    """The exporter's own log."""

    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ["development", "disable_caller", "disable_stacktrace", "encoding", "error_output_paths",
         "initial_fields", "output_paths", "processors", "sampling"],
        "logs are lines of text on standard error",
    )  # fmt: skip

    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(parsers.parse_log_level)
    ] = key(
        "INFO",
        "The lowest level of the exporter's own log lines that are written.",
        allowed="DEBUG, INFO, WARN (or WARNING) or ERROR, in any case",
        variable="OPENFINOPS_LOG_LEVEL",
    )


class Telemetry(Section):
    """The exporter's own telemetry."""

    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ["metrics", "resource", "traces"], "the exporter's own telemetry is its log; remove it"
    )
    logs: Logs = Logs()


class Service(Section):
    """The part of `service` that holds settings."""

    telemetry: Telemetry = Telemetry()


class Configuration(Section):
    """One component of each kind, under its plain name: the result of choosing a pipeline."""

    receivers: Receivers = Receivers()
    extensions: Extensions = Extensions()
    processors: Processors = Processors()
    exporters: Exporters = Exporters()
    service: Service = Service()


_Components = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)
]


class FileService(Section):
    """The section `service` as it is written in the file."""

    extensions: list[str] = key([], "", allowed="a list of names from extensions")
    pipelines: _Components = Field(default_factory=dict)
    telemetry: Any = None


class File(Section):
    """The top level as it is written in the file, with components under any name."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "connectors": "this exporter has no connectors; remove it",
    }

    extensions: _Components = Field(default_factory=dict)
    receivers: _Components = Field(default_factory=dict)
    processors: _Components = Field(default_factory=dict)
    exporters: _Components = Field(default_factory=dict)
    service: FileService = FileService()


class Pipeline(Section):
    """One entry of service.pipelines."""

    receivers: list[str] = key([], "", allowed="a list of names from receivers")
    processors: list[str] = key([], "", allowed="a list of names from processors")
    exporters: list[str] = key([], "", allowed="a list of names from exporters")


def section_at(root: type[Section], path: tuple[str | int, ...]) -> type[Section] | None:
    """The section at a path; None if anything else is there."""
    section: type[Section] | None = root
    for part in path:
        if isinstance(part, int) and section is not None:
            continue  # an element of a list of sections
        known = section.model_fields.get(str(part)) if section else None
        section = (_section_of(known) or _element_of(known)) if known else None
    return section


def _element_of(field: FieldInfo) -> type[Section] | None:
    elements = [one for one in get_args(field.annotation) if isinstance(one, type)]
    return next((one for one in elements if issubclass(one, Section)), None)


def _section_of(field: FieldInfo) -> type[Section] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _keys(section: type[Section], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, field in section.model_fields.items():
        inner = _section_of(field)
        if inner is None:
            yield (*path, name), field
        else:
            yield from _keys(inner, (*path, name))


KEYS: Final[Mapping[tuple[str, ...], FieldInfo]] = dict(_keys(Configuration, ()))
"""Every key that holds a value, by its path."""


def _variable(path: tuple[str, ...], field: FieldInfo) -> str:
    """The environment variable of a key, "" if it has none."""
    # A variable cannot hold a list of mappings.
    by_rule = path[:2] == ("exporters", "openfinops") and _element_of(field) is None
    own = str(texts_of(field)["variable"])
    return own or (f"OPENFINOPS_{path[-1].upper()}" if by_rule else "")


VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    variable: path for path, field in KEYS.items() if (variable := _variable(path, field))
}
"""The key that each environment variable sets."""
