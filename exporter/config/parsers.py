"""Parsers of single configuration values: numbers, durations, addresses, lists.

A parser takes the value from YAML or the environment and returns it with its type. It returns a
value that it cannot parse unchanged, so that pydantic's type check refuses it. It raises
ValueError only where it can give a better explanation than the type check.
"""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self

from exporter.config.connection_string import error_in
from exporter.costs import entry_fields
from exporter.costs.rules import FieldSource

# YAML 1.2's decimal numbers, with `_` between digits as YAML 1.1 and the Collector's parser accept
# it. 18 digits are enough for every key, and stay below Python's limit on converting digits.
# No leading zeros: YAML 1.1 reads `010` as 8, so the number would be ambiguous.
INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17}|[1-9][0-9]{0,2}(?:_[0-9]{3}){1,5})")
FLOAT: Final = re.compile(
    r"[-+]?(?:(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?"
    r"|[0-9]{1,18}[eE][-+]?[0-9]{1,3})"
)

_SECONDS_IN_UNIT: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the sign on keyboards
    "μs": 1e-6,  # U+03BC, the Greek letter; Go accepts both
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_DURATION_PART: Final = re.compile(
    rf"([0-9]{{1,18}}(?:\.[0-9]{{0,18}})?)({'|'.join(_SECONDS_IN_UNIT)})"
)
_DURATION: Final = re.compile(rf"(?:{_DURATION_PART.pattern})+")

_FLAGS: Final = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_LOG_LEVELS: Final = {
    "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "warning": "WARNING", "error": "ERROR",
}  # fmt: skip

_HOST_AND_PORT: Final = re.compile(r"(?P<host>\[[^\[\]]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")
_NAME_OR_IPV4: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_IPV6: Final = re.compile(r"\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]", re.ASCII)


class EnvironmentText(str):
    """Text that comes, wholly or in part, from environment variables.

    Attributes:
        variables: names of the variables, in their order.
        whole: True if the text is one reference and nothing else. Then the type of the key decides
            how to parse it: `90` is a number for retention_days.
    """

    __slots__ = ("variables", "whole")
    variables: tuple[str, ...]
    whole: bool

    def __new__(cls, text: str, variables: tuple[str, ...], *, whole: bool = True) -> Self:
        """Create the text with the names of its variables."""
        self = super().__new__(cls, text)
        self.variables = variables
        self.whole = whole
        return self


def _untyped(value: object) -> str | None:
    """The text if the key decides its type, None for every other value."""
    return value.strip() if isinstance(value, EnvironmentText) and value.whole else None


def parse_number(value: object) -> object:
    """An int or float; from the environment in the same notation as in YAML."""
    text = _untyped(value)
    if text is None:
        return value
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else value


def parse_seconds(value: object) -> object:
    """Seconds as a number, or a Collector duration such as 200ms, 5s or 1h30m."""
    value = parse_number(value)
    return _duration_seconds(value) if isinstance(value, str) else value


def parse_duration_with_unit(value: object) -> object:
    """A Collector duration; the Collector's own keys require the unit."""
    value = parse_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # The Collector reads a bare 10 as 10 nanoseconds, which nobody means.
        raise ValueError("a number alone has no unit")  # noqa: TRY004 - pydantic collects ValueError
    return _duration_seconds(value) if isinstance(value, str) else value


def _duration_seconds(text: str) -> float | str:
    if not _DURATION.fullmatch(text.strip()):
        return text
    parts = _DURATION_PART.findall(text)
    return sum(float(number) * _SECONDS_IN_UNIT[unit] for number, unit in parts)


def parse_flag(value: object) -> object:
    """A bool; from the environment also in the notations of shells and Compose files."""
    text = _untyped(value)
    return value if text is None else _FLAGS.get(text.lower(), value)


def parse_switch(value: object) -> object:
    """A bool that may also be written on or off, which YAML 1.2 reads as text and 1.1 as bools."""
    if isinstance(value, str) and value.lower() in {"on", "off"}:
        return value.lower() == "on"
    return parse_flag(value)


def parse_mode(value: object) -> object:
    """`on` or `off`, also written as a bool, or another word that the key allows."""
    flag = parse_switch(value)
    if isinstance(flag, bool):
        return "on" if flag else "off"
    return value.lower() if isinstance(value, str) else value


def parse_list(value: object) -> object:
    """A list as the tuple that frozen settings hold."""
    return tuple(value) if isinstance(value, list) else value


def parse_names(value: object) -> object:
    """A list of attribute names; from the environment separated by commas."""
    text = _untyped(value)
    if text is not None:
        value = [name.strip() for name in text.split(",") if name.strip()]
    if isinstance(value, list):
        names: list[Any] = value
        for name in names:
            if not isinstance(name, str) or not name or name != name.strip():
                raise ValueError(
                    "an element of the list is not an attribute name (text, not empty, "
                    "without spaces around it)"
                )
    return parse_list(value)


def parse_sources(value: object) -> tuple[FieldSource, ...]:
    """One source of a cost entry's field, or a list of them."""
    sources: list[Any] = value if isinstance(value, list) else [value]
    for source in sources:
        if not isinstance(source, str) or not source.removeprefix("attribute:").strip():
            raise ValueError("an element is empty or not text")
    return tuple(FieldSource.parse(str(source)) for source in sources)


def parse_pattern(value: object) -> object:
    """A name that may contain * and ?."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty")
    return _plain(value)


def parse_price(value: object) -> object:
    """A price, with exactly the digits that are written."""
    value = parse_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    return value


def parse_currency(value: object) -> object:
    """An ISO 4217 code, in any case."""
    if isinstance(value, str):
        code = entry_fields.parse_currency(value)
        if code is None:
            raise ValueError("it is not an ISO 4217 code")
        return code
    return value


def parse_backend(value: object) -> object:
    """The name of a backend; OpenFinOps calls `memory` by the name `in_memory`."""
    return "memory" if value == "in_memory" else _plain(value)


def parse_log_level(value: object) -> object:
    """The name of a level of Python's logging, in any case."""
    return _LOG_LEVELS.get(value.lower(), value) if isinstance(value, str) else value


def parse_connection_string(value: object) -> object:
    """A connection string in one of the forms that `connection_string` knows."""
    if not isinstance(value, str):
        return value
    error = error_in(value.strip()) if value.strip() else "it is empty"
    if error:
        raise ValueError(error)
    return value.strip()


def parse_path(value: object) -> object:
    """The path of a file, which need not exist yet."""
    if not isinstance(value, str):
        return value
    if not value.strip() or "\0" in value:
        raise ValueError("it is not a path")
    return Path(value)


def parse_token(value: object) -> object:
    """A bearer token, which must fit into an HTTP header."""
    if isinstance(value, str) and not re.fullmatch(r"[!-~]+", value):
        raise ValueError("it is empty, or holds a space or another character no header can carry")
    return _plain(value)


def parse_scheme(value: object) -> object:
    """The word before a token in the header authorization."""
    if isinstance(value, str) and not re.fullmatch(r"[\w!#$%&'*+.^`|~-]*", value, re.ASCII):
        raise ValueError("it is not a word")
    return _plain(value)


def parse_tls_version(value: object) -> object:
    """A version of TLS; YAML reads one without quotes as a number."""
    return str(value) if isinstance(value, float) else _plain(value)


def refuse_null(value: object) -> object:
    """Refuse a key without a value, for keys whose default is None."""
    if value is None:
        raise ValueError("it is empty")
    return value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def parse_endpoint(value: object) -> object:
    """An address to listen on, in the form that gRPC accepts.

    gRPC itself would silently reduce port 99999 to 34463 and read a missing port as 443. It also
    refuses an empty host, which for the Collector means every interface.
    """
    if not isinstance(value, str):
        return value
    if value.startswith("unix:"):
        return _unix_endpoint(value)
    if "://" in value:
        raise ValueError(
            "it is a URL; this is where the receiver listens, without a scheme or a path"
        )
    parts = _HOST_AND_PORT.fullmatch(value)
    if parts is None:
        raise ValueError("it is not host:port (an IPv6 address goes in brackets)")
    host, port = parts["host"], int(parts["port"])
    if port > 65535:
        raise ValueError("the port is above 65535")
    if host and not (_NAME_OR_IPV4.fullmatch(host) or _IPV6.fullmatch(host)):
        raise ValueError("the host is neither a name nor an IP address")
    return f"{host or '[::]'}:{port}"


def _unix_endpoint(value: str) -> str:
    if not re.fullmatch(r"unix:///[^\0]*[^/\0]", value):
        raise ValueError("a Unix socket is written with its absolute path: unix:///run/otel.sock")
    return str(value)
