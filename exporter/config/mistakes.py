"""What is wrong with a piece of configuration, in words: the one place that explains mistakes."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from exporter.config.connection import redacted
from exporter.config.document import KeyPath, dotted
from exporter.config.schema import KEYS, Section, section_at
from exporter.config.values import FLOAT, INTEGER, EnvironmentText

__all__ = ["Mistake", "found", "mistakes_in", "nearest"]

_SHOWN_CHARACTERS: Final = 60
# What stands under these names is never shown, however wrong.
_SECRETS: Final = frozenset({"connection_string", "bearertokenauth"})
_NOT_TEXT: Final = frozenset({"int_type", "float_type", "bool_type"})


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake; `path` is relative to what was checked."""

    path: KeyPath
    message: str


def mistakes_in(model: type[Section], raw: object) -> Iterator[Mistake]:
    """Everything that is wrong with `raw` as a `model`, in the order of the model's keys."""
    try:
        model.model_validate(raw)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            # pydantic tells what a reader made of the value; people look for what they wrote.
            value = _value_at(raw, details["loc"])
            yield Mistake(details["loc"], _explanation(model, details["loc"], value, details))


def _value_at(raw: object, path: KeyPath) -> object:
    value: Any = raw
    for part in path:
        value = value[part]
    return value


def _explanation(model: type[Section], path: KeyPath, value: object, details: Any) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(model, path)
    section = section_at(model, path)
    if section is None:
        return _wrong_value(model, path, value, details)
    if "error" in details.get("ctx", {}):
        return str(details["ctx"]["error"])
    return f"found {_shown(path, value)}; allowed: a mapping; {_keys_of(section)}"


def _unknown_key(model: type[Section], path: KeyPath) -> str:
    section, name = section_at(model, path[:-1]), str(path[-1])
    if section is None:
        raise AssertionError(f"{path} leads to no section of {model}")
    if name in section.unsupported:
        yet = " yet" if name in section.planned else ""
        return (
            f"the Collector has this key, this exporter does not support it{yet}: "
            f"{section.unsupported[name]}"
        )
    elsewhere = [dotted(known) for known in KEYS if known[-1] == name]
    if elsewhere:
        return f"unknown key here; it belongs in {elsewhere[0]}"
    near = nearest(name, section.model_fields)
    hint = f"did you mean {near}? " if near else ""
    return f"unknown key; {hint}{_keys_of(section)}"


def _keys_of(section: type[Section]) -> str:
    return f"known here: {', '.join(sorted(section.model_fields))}"


def _wrong_value(model: type[Section], path: KeyPath, value: object, details: Any) -> str:
    context = details.get("ctx", {})
    text = f"found {_shown(path, value)}"
    if "error" in context:
        text += f": {context['error']}"
    if details["type"] == "literal_error" and isinstance(value, str):
        near = nearest(value, re.findall(r"'(\w+)'", context["expected"]))
        text += f" (did you mean {near}?)" if near else ""
    text += f"; allowed: {_allowed(model, path)}"
    if value is None:
        text += "; remove the key to take the default"
    elif details["type"] in _NOT_TEXT and _would_do_without_quotes(value):
        text += "; write it without quotes"
    return text


def _would_do_without_quotes(value: object) -> bool:
    return isinstance(value, str) and bool(
        INTEGER.fullmatch(value) or FLOAT.fullmatch(value) or value in {"true", "false"}
    )


def _allowed(model: type[Section], path: KeyPath) -> str:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    section = section_at(model, path[:-1])
    key = section.model_fields.get(str(path[-1])) if section else None
    extra = key.json_schema_extra if key else None
    return str(extra["allowed"]) if isinstance(extra, dict) else "a mapping"


def found(value: object) -> str:
    """A value for an error message: its notation and kind, shortened, without passwords."""
    if isinstance(value, EnvironmentText):
        source = f" (from {', '.join(value.variables)})" if value.variables else ""
        return f"{_without_secret(value)!r}{source}"
    if isinstance(value, str):
        return f"{_without_secret(value)!r} (text)"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return repr(value)


def _shown(path: KeyPath, value: object) -> str:
    return found(value) if _SECRETS.isdisjoint(path) else _found_secret(value)


def _found_secret(value: object) -> str:
    # What is no connection string may be a password alone, even one that YAML takes for a number.
    if isinstance(value, str) and value:
        return f"'{redacted(value)}'"
    return "a number" if isinstance(value, int | float) else found(value)


def _without_secret(text: str) -> str:
    if re.search(r"[@=]|passw", text, re.IGNORECASE):
        text = redacted(text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant, None where no one is near."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None
