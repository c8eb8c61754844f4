"""How keys are declared: the base class of sections, the types of values, and `key()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic.fields import FieldInfo

from exporter.config import parsers
from exporter.time_units import SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class Allowed:
    """Which values a type allows, in words for errors and docs.

    Attributes:
        noun: what a value is.
        examples: follow the bounds of the key.
    """

    noun: str
    examples: str = ""


_COUNT: Final = Allowed("a whole number")
_NUMBER: Final = Allowed("a number")
_DURATION: Final = Allowed("a duration with its unit, from 1ms to 480h, such as 30s")

NotNull = BeforeValidator(parsers.refuse_null)
Seconds = Annotated[
    float,
    BeforeValidator(parsers.parse_seconds),
    Allowed("seconds", ", or a duration such as 200ms, 5s or 1h30m"),
]
_Duration = Annotated[
    float,
    BeforeValidator(parsers.parse_duration_with_unit),
    Field(ge=0.001, le=20 * SECONDS_PER_DAY),
]
Duration = Annotated[_Duration, _DURATION]
OptionalDuration = Annotated[_Duration | None, NotNull, _DURATION]
Number = Annotated[float, BeforeValidator(parsers.parse_number), _NUMBER]
OptionalNumber = Annotated[float | None, BeforeValidator(parsers.parse_number), NotNull, _NUMBER]
Count = Annotated[int, BeforeValidator(parsers.parse_number), _COUNT]
OptionalCount = Annotated[int | None, BeforeValidator(parsers.parse_number), NotNull, _COUNT]
Flag = Annotated[bool, BeforeValidator(parsers.parse_flag), Allowed("true or false")]
Switch = Annotated[bool, BeforeValidator(parsers.parse_switch), Allowed("on or off")]
Names = Annotated[
    tuple[str, ...], BeforeValidator(parsers.parse_names), Allowed("a list of attribute names")
]
FilePath = Annotated[
    Path | None, BeforeValidator(parsers.parse_path), NotNull, Allowed("the path of a file")
]
Token = Annotated[str | None, BeforeValidator(parsers.parse_token), NotNull]


def key(
    default: Any,
    meaning: str,
    *,
    allowed: str = "",
    variable: str = "",
    collector: str = "",
    backends: Sequence[str] = (),
    **bounds: Any,
) -> Any:
    """Declare one key, with the texts for error messages and docs/configuration.md.

    Args:
        default: the value if the key is not set.
        meaning: one or more sentences for the docs.
        allowed: which values are allowed, if the type and the bounds do not say it. With a leading
            comma it is added to what they say.
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


def texts_of(field: FieldInfo) -> dict[str, Any]:
    """The texts that `key` was given."""
    texts = field.json_schema_extra
    return texts if isinstance(texts, dict) else {}


def allowed_of(field: FieldInfo) -> str:
    """Which values a key allows: "a whole number from 1 to 1000000"."""
    own = str(texts_of(field).get("allowed", ""))
    if not own and get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    kind = next((each for each in field.metadata if isinstance(each, Allowed)), None)
    if kind is None or (own and not own.startswith(",")):
        return own or "a mapping"
    bounds = "" if kind is _DURATION else _bounds_of(field)
    return f"{kind.noun}{bounds}{own}{kind.examples}"


def _bounds_of(field: FieldInfo) -> str:
    bounds = {
        name: getattr(each, name)
        for each in field.metadata
        for name in ("gt", "ge", "le")
        if hasattr(each, name)
    }
    upper = bounds.get("le")
    if "ge" in bounds:
        return f" from {bounds['ge']} to {upper}"
    lower = f" above {bounds['gt']}" if "gt" in bounds else ""
    return lower if upper is None else f"{lower}, at most {upper}"


class Section(BaseModel):
    """A mapping in the file; an empty one (`grpc:`) means all defaults.

    Attributes:
        unsupported: keys that the Collector has here and this exporter has not, with a hint.
        planned: those of them that a later version will support.
    """

    # extra: a misspelled key is an error. strict: YAML gives values their types, so "90" in quotes
    # is an error and not a number. hide_input_in_errors: the input may hold a password.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    unsupported: ClassVar[Mapping[str, str]] = {}
    planned: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _null_means_all_defaults(cls, value: object) -> object:
        return {} if value is None else value
