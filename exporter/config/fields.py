"""How keys are declared: the base class of sections, the types of values, and `key()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from exporter.config import parsers

__all__ = [
    "DAY_SECONDS",
    "DURATION_TEXT",
    "Count",
    "Duration",
    "FilePath",
    "Flag",
    "Names",
    "NotNull",
    "Number",
    "OptionalCount",
    "OptionalDuration",
    "Seconds",
    "Section",
    "Switch",
    "Token",
    "key",
]

DAY_SECONDS: Final = 86_400

Seconds = Annotated[float, BeforeValidator(parsers.parse_seconds)]
Duration = Annotated[
    float, BeforeValidator(parsers.parse_duration_with_unit), Field(ge=0.001, le=20 * DAY_SECONDS)
]
Number = BeforeValidator(parsers.parse_number)
Count = Annotated[int, Number]
NotNull = BeforeValidator(parsers.refuse_null)
OptionalDuration = Annotated[Duration | None, NotNull]
OptionalCount = Annotated[Count | None, NotNull]
Flag = Annotated[bool, BeforeValidator(parsers.parse_flag)]
Switch = Annotated[bool, BeforeValidator(parsers.parse_switch)]
Names = Annotated[tuple[str, ...], BeforeValidator(parsers.parse_names)]

FilePath = Annotated[Path | None, BeforeValidator(parsers.parse_path), NotNull]
Token = Annotated[str | None, BeforeValidator(parsers.parse_token), NotNull]

DURATION_TEXT: Final = "a duration with its unit, from 1ms to 480h, such as 30s"


def key(
    default: Any,
    allowed: str,
    meaning: str,
    *,
    variable: str = "",
    collector: str = "",
    backends: Sequence[str] = (),
    **bounds: Any,
) -> Any:
    """Declare one key, with the texts for error messages and docs/configuration.md.

    Args:
        default: the value if the key is not set.
        allowed: which values are allowed, for errors and docs.
        meaning: one or more sentences for the docs.
        variable: the environment variable that sets the key. The keys of exporters.openfinops
            have one by default, see `schema.VARIABLES`.
        collector: the Collector's key of the same meaning.
        backends: the only backends that use the key; all if empty.
        bounds: bounds as pydantic's `Field` takes them (gt, ge, le), and `repr=False` for secrets.
    """
    if backends:
        meaning += f" Only for {' and '.join(backends)}."
    texts: dict[str, JsonValue] = {
        "allowed": allowed,
        "variable": variable,
        "collector": collector,
        "backends": list(backends),
    }
    return Field(default, description=meaning, json_schema_extra=texts, **bounds)


class Section(BaseModel):
    """A mapping in the file; an empty one (`grpc:`) means all defaults.

    Attributes:
        unsupported: keys that the Collector has here and this exporter has not, with a hint.
        planned: those of them that a later version will support.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    unsupported: ClassVar[Mapping[str, str]] = {}
    planned: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _null_means_all_defaults(cls, value: object) -> object:
        return {} if value is None else value
