"""What every section of a configuration file is made of: sections, keys, and kinds of values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from exporter.config import values

__all__ = [
    "DAY_SECONDS",
    "DURATION_TEXT",
    "Count",
    "Duration",
    "FilePath",
    "Flag",
    "Names",
    "NotNothing",
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

Seconds = Annotated[float, BeforeValidator(values.read_seconds)]
Duration = Annotated[
    float, BeforeValidator(values.read_collector_duration), Field(ge=0.001, le=20 * DAY_SECONDS)
]
Number = BeforeValidator(values.read_number)
Count = Annotated[int, Number]
NotNothing = BeforeValidator(values.refuse_nothing)
OptionalDuration = Annotated[Duration | None, NotNothing]
OptionalCount = Annotated[Count | None, NotNothing]
Flag = Annotated[bool, BeforeValidator(values.read_flag)]
Switch = Annotated[bool, BeforeValidator(values.read_switch)]
Names = Annotated[list[str], BeforeValidator(values.read_names)]

FilePath = Annotated[str | None, BeforeValidator(values.read_path), NotNothing]
Token = Annotated[str | None, BeforeValidator(values.read_token), NotNothing]

DURATION_TEXT: Final = "a duration with its unit, from 1ms to 480h, such as 30s"


def key(default: Any, allowed: str, meaning: str, *, collector: str = "", **bounds: Any) -> Any:
    """One key: `allowed` goes into errors and docs, `collector` names its counterpart there."""
    texts: dict[str, JsonValue] = {"allowed": allowed, "collector": collector}
    return Field(default, description=meaning, json_schema_extra=texts, **bounds)


class Section(BaseModel):
    """A mapping in the file; an empty one (`grpc:`) stands for all defaults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    unsupported: ClassVar[Mapping[str, str]] = {}
    planned: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_all_defaults(cls, value: object) -> object:
        return {} if value is None else value
