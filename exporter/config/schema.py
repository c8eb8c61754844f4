"""Every key of a configuration file: its type, default, bounds and meaning.

The models say what a user writes; what the exporter runs with is `exporter.config.Settings`.
Each key carries the texts from which error messages and docs/configuration.md are made. Each
section also lists the keys that the Collector has there and this exporter has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator
from pydantic.fields import FieldInfo

from exporter.config import values
from exporter.config.exporter_keys import Exporters
from exporter.config.receiver_keys import Extensions, Receivers
from exporter.config.sections import (
    DAY_SECONDS,
    Count,
    OptionalCount,
    OptionalDuration,
    Section,
    key,
)

__all__ = ["KEYS", "VARIABLES", "Configuration", "File", "Pipeline", "Section", "section_at"]


class Batch(Section):
    """The Collector's batch processor; what is not written here keeps the exporter's default."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "metadata_cardinality_limit": "request metadata is not kept",
        "metadata_keys": "request metadata is not kept",
    }

    timeout: OptionalDuration = key(
        None,
        "a duration with its unit, from 1ms to 24h, such as 10s",
        "Another way to write batch_interval_seconds.",
        collector="timeout",
        le=DAY_SECONDS,
    )
    send_batch_size: OptionalCount = key(
        None,
        "a whole number from 1 to 1000000",
        "Another way to write batch_size.",
        collector="send_batch_size",
        ge=1,
        le=1_000_000,
    )
    send_batch_max_size: Count = key(
        0,
        "0, or a whole number that is at least send_batch_size",
        "Accepted, without effect: under load batches grow instead of waiting.",
        collector="send_batch_max_size",
        ge=0,
        le=2**32 - 1,
    )

    @model_validator(mode="after")
    def _limit_is_not_below_size(self) -> Self:
        if 0 < self.send_batch_max_size < (self.send_batch_size or 0):
            raise ValueError(
                f"send_batch_max_size is {self.send_batch_max_size} and send_batch_size is "
                f"{self.send_batch_size}; the first must be 0 or at least the second"
            )
        return self


class Processors(Section):
    """What happens to data on the way."""

    batch: Batch = Batch()


class Logs(Section):
    """The exporter's own log."""

    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ["development", "disable_caller", "disable_stacktrace", "encoding", "error_output_paths",
         "initial_fields", "output_paths", "processors", "sampling"],
        "logs are lines of text on standard error",
    )  # fmt: skip

    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(values.read_log_level)
    ] = key(
        "INFO",
        "DEBUG, INFO, WARN (or WARNING) or ERROR, in any case",
        "From which level on the exporter's own log lines are written.",
    )


class Telemetry(Section):
    """What the exporter tells about itself."""

    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ["metrics", "resource", "traces"], "the exporter's own telemetry is its log; remove it"
    )
    logs: Logs = Logs()


class Service(Section):
    """The part of `service` that holds settings."""

    telemetry: Telemetry = Telemetry()


class Configuration(Section):
    """One component of each kind, under its plain name: what is left when a pipeline is chosen."""

    extensions: Extensions = Extensions()

    receivers: Receivers = Receivers()
    processors: Processors = Processors()
    exporters: Exporters = Exporters()
    service: Service = Service()


_Components = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)
]


class FileService(Section):
    """The section `service` as it stands in the file."""

    extensions: list[str] = key([], "a list of names from extensions", "")
    pipelines: _Components = Field(default_factory=dict)
    telemetry: Any = None


class File(Section):
    """The top level as it stands in the file, with components under any name."""

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

    receivers: list[str] = key([], "a list of names from receivers", "")
    processors: list[str] = key([], "a list of names from processors", "")
    exporters: list[str] = key([], "a list of names from exporters", "")


def section_at(root: type[Section], path: tuple[str | int, ...]) -> type[Section] | None:
    """The section that a path leads to; None where it leads to anything else."""
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

_ENDPOINT: Final = ("receivers", "otlp", "protocols", "grpc", "endpoint")
_EXPORTER: Final = ("exporters", "openfinops")
# Of mappings, which a variable cannot hold.
_LISTS: Final = frozenset({"cost_rules", "llm_prices"})

VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "OPENFINOPS_ENDPOINT": _ENDPOINT,
    "OPENFINOPS_LOG_LEVEL": ("service", "telemetry", "logs", "level"),
    **{
        "OPENFINOPS_DB_URL"
        if path[2] == "connection_string"
        else f"OPENFINOPS_{path[2]}".upper(): path
        for path in KEYS
        if path[:2] == _EXPORTER and path[2] not in _LISTS
    },
}
"""The key that each environment variable sets."""
