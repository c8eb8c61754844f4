"""How one configuration value is read: numbers, durations, addresses, lists.

YAML gives a value its type by itself. Text from the environment has none, so there the key
decides: `90` is a number for retention_days and a text for connection_string. Each reader takes
the value as it was found, returns what it means, and leaves alone what it cannot read, so that
pydantic's type check refuses it; it raises ValueError where it knows a better explanation.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final, Self

from exporter.config.connection import mistake_in
from exporter.costs.currencies import parse_currency

__all__ = [
    "FLOAT",
    "INTEGER",
    "EnvironmentText",
    "read_backend",
    "read_collector_duration",
    "read_connection_string",
    "read_currency",
    "read_endpoint",
    "read_flag",
    "read_log_level",
    "read_mode",
    "read_names",
    "read_number",
    "read_path",
    "read_pattern",
    "read_price",
    "read_scheme",
    "read_seconds",
    "read_sources",
    "read_switch",
    "read_token",
    "read_version",
    "refuse_nothing",
]

# YAML 1.2's decimal numbers, with `_` between digits as YAML 1.1 and the Collector's reader take
# it. 18 digits are enough for every key, and keep clear of Python's limit on converting digits.
INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17}|[1-9][0-9]{0,2}(?:_[0-9]{3}){1,5})")
FLOAT: Final = re.compile(
    r"[-+]?(?:(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,3})?"
    r"|[0-9]{1,18}[eE][-+]?[0-9]{1,3})"
)

_SECONDS_IN_UNIT: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,  # U+00B5, the sign on keyboards
    "μs": 1e-6,  # U+03BC, the Greek letter; Go takes both
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
    """Text that came, wholly or in part, from environment variables.

    Attributes:
        variables: names of the variables, in their order.
        whole: True where nothing was written around it, so that the key decides about its type.
    """

    __slots__ = ("variables", "whole")
    variables: tuple[str, ...]
    whole: bool

    def __new__(cls, text: str, variables: tuple[str, ...], *, whole: bool = True) -> Self:
        """Make the text and remember where it came from."""
        self = super().__new__(cls, text)
        self.variables = variables
        self.whole = whole
        return self


def _untyped(value: object) -> str | None:
    """The text whose type the key decides about, None for every other value."""
    return value.strip() if isinstance(value, EnvironmentText) and value.whole else None


def read_number(value: object) -> object:
    """An int or float; from the environment in the same notation as in YAML."""
    text = _untyped(value)
    if text is None:
        return value
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else value


def read_seconds(value: object) -> object:
    """Seconds as a number, or a Collector duration such as 200ms, 5s or 1h30m."""
    value = read_number(value)
    return _duration_seconds(value) if isinstance(value, str) else value


def read_collector_duration(value: object) -> object:
    """A duration that has its unit, as the Collector's own keys want it."""
    value = read_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        # The Collector would take a bare 10 as 10 nanoseconds, which nobody means.
        raise ValueError("a number alone has no unit")  # noqa: TRY004 - pydantic collects ValueError
    return _duration_seconds(value) if isinstance(value, str) else value


def _duration_seconds(text: str) -> float | str:
    if not _DURATION.fullmatch(text.strip()):
        return text
    parts = _DURATION_PART.findall(text)
    return sum(float(number) * _SECONDS_IN_UNIT[unit] for number, unit in parts)


def read_flag(value: object) -> object:
    """A bool; from the environment also in the notations that shells and Compose files use."""
    text = _untyped(value)
    return value if text is None else _FLAGS.get(text.lower(), value)


def read_switch(value: object) -> object:
    """A bool that may also be written on or off, which are text in YAML 1.2 and were bools before.

    From the environment also in the notations that shells and Compose files use.
    """
    if isinstance(value, str) and value.lower() in {"on", "off"}:
        return value.lower() == "on"
    return read_flag(value)


def read_mode(value: object) -> object:
    """On or off, also written as a bool, or another word of the key's own."""
    flag = read_switch(value)
    if isinstance(flag, bool):
        return "on" if flag else "off"
    return value.lower() if isinstance(value, str) else value


def read_names(value: object) -> object:
    """A list of attribute names; from the environment separated by commas."""
    text = _untyped(value)
    if text is not None:
        value = [name.strip() for name in text.split(",") if name.strip()]
    if isinstance(value, list):
        names: list[Any] = value
        for name in names:
            if not isinstance(name, str) or not name or name != name.strip():
                raise ValueError(
                    "an element of the list is no attribute name (text, not empty, "
                    "without spaces around it)"
                )
    return value


def read_sources(value: object) -> object:
    """One source of a field, or a list of them."""
    sources: list[Any] = value if isinstance(value, list) else [value]
    for source in sources:
        if not isinstance(source, str) or not source.removeprefix("attribute:").strip():
            raise ValueError("an element is empty, or is no text")
    return [str(source) for source in sources]


def read_pattern(value: object) -> object:
    """A name that may hold * and ?."""
    if isinstance(value, str) and not value.strip():
        raise ValueError("it is empty")
    return _plain(value)


def read_price(value: object) -> object:
    """A price, with exactly the digits that are written."""
    value = read_number(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(repr(value))
    return value


def read_currency(value: object) -> object:
    """An ISO 4217 code, in any case."""
    if isinstance(value, str):
        code = parse_currency(value)
        if code is None:
            raise ValueError("it is no ISO 4217 code")
        return code
    return value


def read_backend(value: object) -> object:
    """The name of a backend; OpenFinOps calls `memory` by the name `in_memory`."""
    return "memory" if value == "in_memory" else _plain(value)


def read_log_level(value: object) -> object:
    """The name of Python's logging level, in any case."""
    return _LOG_LEVELS.get(value.lower(), value) if isinstance(value, str) else value


def read_connection_string(value: object) -> object:
    """A connection string in one of the forms that `exporter.config.connection` knows."""
    if not isinstance(value, str):
        return value
    mistake = mistake_in(value.strip()) if value.strip() else "it is empty"
    if mistake:
        raise ValueError(mistake)
    return value.strip()


def read_path(value: object) -> object:
    """The path of a file, which need not be there yet."""
    if isinstance(value, str) and (not value.strip() or "\0" in value):
        raise ValueError("it is no path")
    return _plain(value)


def read_token(value: object) -> object:
    """A bearer token, which has to fit into a header."""
    if isinstance(value, str) and not re.fullmatch(r"[!-~]+", value):
        raise ValueError("it is empty, or holds a space or another character no header can carry")
    return _plain(value)


def read_scheme(value: object) -> object:
    """The word before a token."""
    if isinstance(value, str) and not re.fullmatch(r"[\w!#$%&'*+.^`|~-]*", value, re.ASCII):
        raise ValueError("it is no word")
    return _plain(value)


def read_version(value: object) -> object:
    """A version of TLS, which without quotes is a number."""
    return str(value) if isinstance(value, float) else _plain(value)


def refuse_nothing(value: object) -> object:
    """For a key whose default is None: None cannot be written."""
    if value is None:
        raise ValueError("it is empty")
    return value


def _plain(value: object) -> object:
    return str(value) if isinstance(value, str) else value


def read_endpoint(value: object) -> object:
    """An address to listen on, as gRPC takes it.

    gRPC itself would cut port 99999 down to 34463 and take a missing port for 443, both without
    a word, and it refuses an empty host, which for the Collector means every interface.
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
