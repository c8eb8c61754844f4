"""References to environment variables in the texts of a configuration file.

They are replaced after the YAML is parsed, in single values, so that a password with a colon or
a `#` in it cannot change the file's structure. What a variable holds is never looked through for
further references. Pure: the environment is an argument.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from exporter.config.values import EnvironmentText

__all__ = ["expand"]

_TOKEN: Final = re.compile(r"\$\$|\$\{(?P<reference>[^{}]*)\}|\$\{")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

# Where else the Collector can take values from; every other word before a colon may be anything,
# even a piece of a password, and is not repeated in an error.
_OTHER_SOURCES: Final = frozenset({"file", "http", "https", "yaml"})

_HOW_TO_WRITE: Final = "write ${env:NAME} or ${env:NAME:-default}, and $$ for a dollar sign"


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Replace `${env:NAME}`, `${env:NAME:-default}`, `${NAME}` and `$$`.

    A default is taken where the variable is not set or empty, as shells do; an unset variable
    without a default is an error, where the Collector would silently take nothing.

    Returns:
        The text itself where it holds no reference, else an `EnvironmentText`.

    Raises:
        ValueError: a reference cannot be resolved or read; says which, and what to write.
    """
    variables: list[str] = []

    def replacement(token: re.Match[str]) -> str:
        if token.group() == "$$":
            return "$"
        reference = token["reference"]
        if reference is None:
            raise ValueError(
                "it holds a ${ without its }, or with another brace inside; " + _HOW_TO_WRITE
            )
        name, default = _parse(reference)
        variables.append(name)
        return _value_of(name, default, environ)

    expanded = _TOKEN.sub(replacement, text)
    if not variables:
        return expanded
    only = _TOKEN.fullmatch(text)
    return EnvironmentText(expanded, tuple(variables), whole=only is not None)


def _parse(reference: str) -> tuple[str, str | None]:
    head, has_default, default = reference.partition(":-")
    source, colon, name = head.partition(":")
    if not colon:
        source, name = "env", head
    if source in _OTHER_SOURCES:
        raise ValueError(
            f"it refers to a {source}, which the Collector can read and this exporter cannot; "
            + _HOW_TO_WRITE
        )
    if source != "env" or not _NAME.fullmatch(name):
        raise ValueError("it holds a reference that is not understood; " + _HOW_TO_WRITE)
    return name, default if has_default else None


def _value_of(name: str, default: str | None, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None and default is None:
        raise ValueError(
            f"the environment variable {name} is not set; set it, or write ${{env:{name}:-default}}"
        )
    return value or default or ""
