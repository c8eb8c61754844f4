"""Error messages for invalid configuration: pydantic's errors in words, without secrets."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from pydantic import ValidationError

from exporter.config.connection_string import redacted
from exporter.config.fields import Section, allowed_of
from exporter.config.parsers import FLOAT, INTEGER, EnvironmentText
from exporter.config.schema import KEYS, section_at
from exporter.config.yaml_document import KeyPath, dotted

_SHOWN_CHARACTERS: Final = 60
# A value under these names is never shown, whatever is wrong with it.
_SECRETS: Final = frozenset({"connection_string", "bearertokenauth"})
_WANTS_NO_QUOTES: Final = frozenset({"int_type", "float_type", "bool_type"})


def validation_errors(model: type[Section], raw: object) -> Iterator[tuple[KeyPath, str]]:
    """Every error in `raw` as a `model`, in the order of the model's keys.

    Yields:
        The path, relative to `raw`, and the message.
    """
    try:
        model.model_validate(raw)
    except ValidationError as error:
        for details in error.errors(include_url=False):
            # pydantic gives the value after parsing; users look for the value that they wrote.
            value = _value_at(raw, details["loc"])
            yield details["loc"], _message(model, details["loc"], value, details)


def _value_at(raw: object, path: KeyPath) -> object:
    value: Any = raw
    for part in path:
        value = value[part]
    return value


def _message(model: type[Section], path: KeyPath, value: object, details: Any) -> str:
    if details["type"] == "extra_forbidden":
        return _unknown_key(model, path)
    section = section_at(model, path)
    if section is None:
        return _invalid_value(model, path, value, details)
    if "error" in details.get("ctx", {}):
        return str(details["ctx"]["error"])
    return f"found {_shown(path, value)}; allowed: a mapping; {_known_keys(section)}"


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
    # A known key under the wrong section is more likely than a misspelled key of this section.
    elsewhere = [dotted(known) for known in KEYS if known[-1] == name]
    if elsewhere:
        return f"unknown key here; it belongs in {elsewhere[0]}"
    near = closest_match(name, section.model_fields)
    hint = f"did you mean {near}? " if near else ""
    return f"unknown key; {hint}{_known_keys(section)}"


def _known_keys(section: type[Section]) -> str:
    return f"known keys: {', '.join(sorted(section.model_fields))}"


def _invalid_value(model: type[Section], path: KeyPath, value: object, details: Any) -> str:
    context = details.get("ctx", {})
    text = f"found {_shown(path, value)}"
    if "error" in context:
        text += f": {context['error']}"
    if details["type"] == "literal_error" and isinstance(value, str):
        near = closest_match(value, re.findall(r"'(\w+)'", context["expected"]))
        text += f" (did you mean {near}?)" if near else ""
    text += f"; allowed: {_allowed(model, path)}"
    if value is None:
        text += "; remove the key to take the default"
    elif details["type"] in _WANTS_NO_QUOTES and _is_quoted_literal(value):
        text += "; write it without quotes"
    return text


def _is_quoted_literal(value: object) -> bool:
    return isinstance(value, str) and bool(
        INTEGER.fullmatch(value) or FLOAT.fullmatch(value) or value in {"true", "false"}
    )


def _allowed(model: type[Section], path: KeyPath) -> str:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    section = section_at(model, path[:-1])
    key = section.model_fields.get(str(path[-1])) if section else None
    return allowed_of(key) if key else "a mapping"


def _shown(path: KeyPath, value: object) -> str:
    """A value for an error message: its notation and kind, shortened, without passwords."""
    if not _SECRETS.isdisjoint(path):
        # Text that is not a connection string may be a password alone, as may a number in YAML.
        if isinstance(value, str) and value:
            return f"'{redacted(value)}'"
        if isinstance(value, int | float):
            return "a number"
    if isinstance(value, str):
        return f"{_without_secret(value)!r}{_origin(value)}"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    return repr(value)


def _origin(text: str) -> str:
    """Returns a note that says whether the text came from YAML or from environment variables."""
    if not isinstance(text, EnvironmentText):
        return " (text)"
    return f" (from {', '.join(text.variables)})" if text.variables else ""


def _without_secret(text: str) -> str:
    if re.search(r"[@=]|passw", text, re.IGNORECASE):
        text = redacted(text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


def closest_match(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like this one, None if none is similar."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    # 0.6 is difflib's own default.
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[close[0]] if close else None
