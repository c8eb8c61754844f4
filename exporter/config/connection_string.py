"""Connection strings: which backend one belongs to, and how to show it without its secrets.

Nothing here connects. A connection string that cannot be parsed with certainty is hidden wholly: a
password with an unescaped `@` or `/` would otherwise be cut in the wrong place.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"

_BACKEND_OF_SCHEME: Final = {
    "sqlite": "sqlite",
    "postgresql": "postgresql",
    "postgres": "postgresql",
}

# Parameters that say where and how to connect. Every other one may hold a secret.
_PUBLIC_PARAMETERS: Final = frozenset(
    {
        "application_name",
        "connect_timeout",
        "dbname",
        "host",
        "hostaddr",
        "port",
        "sslmode",
        "target_session_attrs",
        "user",
    }
)

# At most one "@" can match, so everything between ":" and "@" is the password.
_POSTGRESQL_URL: Final = re.compile(
    r"""
    (?P<start>postgres(?:ql)?://)
    (?:(?P<user>[^:@/?\#\s]*)(?P<password>:[^@/?\#\s]*)?@)?
    (?P<host>(?:[\w.%-]+|\[[0-9A-Fa-f:.]+\])?(?::[0-9]+)?
        (?:,(?:[\w.%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?)*)
    (?P<database>/[^@?\#\s:=]*)?
    (?:\?(?P<query>[^@?\#\s]*))?
    """,
    re.VERBOSE | re.ASCII,
)

_PAIR: Final = re.compile(
    r"\s*(?P<name>\w+)\s*=\s*(?P<value>'(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)+)(?:\s+|$)",
    re.ASCII | re.DOTALL,
)


def backend_of(connection_string: str) -> str | None:
    """The backend that a connection string belongs to.

    Returns:
        "sqlite", "postgresql" (a URL or libpq's `key=value` form; TimescaleDB's is the same),
        or None if the form is neither.
    """
    scheme, separator, _ = connection_string.partition("://")
    if separator and re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        return _BACKEND_OF_SCHEME.get(scheme)
    return "postgresql" if _PAIR.match(connection_string) else None


def error_in(connection_string: str) -> str | None:
    """What is wrong with the form of a connection string, without quoting it; None if valid."""
    backend = backend_of(connection_string)
    if backend is None:
        return "it does not begin with sqlite:///, postgresql:// or key=value"
    if backend != "sqlite":
        return None
    path = connection_string.removeprefix("sqlite:///")
    if path == connection_string:
        return (
            "sqlite needs three slashes before a relative path (sqlite:///data.db) "
            "and four before an absolute one (sqlite:////var/lib/data.db)"
        )
    if path in {"", ":memory:"}:
        return "it does not name a file; to keep data in memory write backend: memory"
    if "?" in path or "\0" in path:
        return "sqlite takes no options after a question mark"
    return None


def redacted(connection_string: str) -> str:
    """The connection string with every possible secret replaced by `***`."""
    backend = backend_of(connection_string)
    if backend is None:
        return HIDDEN
    start, separator, _ = connection_string.partition("://")
    if backend == "sqlite":
        return _redacted_path(connection_string)
    if not separator or _PAIR.match(connection_string):
        return _redacted_pairs(connection_string)
    parts = _POSTGRESQL_URL.fullmatch(connection_string)
    return _redacted_url(parts) if parts else f"{start}://{HIDDEN}"


def _redacted_path(text: str) -> str:
    path, question_mark, _ = text.partition("?")
    if not path.startswith("sqlite:///"):
        return f"sqlite://{HIDDEN}"
    return path + (f"?{HIDDEN}" if question_mark else "")


def _redacted_url(parts: re.Match[str]) -> str:
    text = parts["start"]
    if parts["user"] is not None:
        password = f":{HIDDEN}" if parts["password"] else ""
        text += f"{parts['user']}{password}@"
    text += parts["host"] + (parts["database"] or "")
    if parts["query"]:
        pairs = (pair.partition("=") for pair in parts["query"].split("&"))
        text += "?" + "&".join(_redacted_pair(name, value) for name, _, value in pairs)
    return text


def _redacted_pairs(text: str) -> str:
    position, shown = 0, []
    while position < len(text):
        pair = _PAIR.match(text, position)
        if pair is None:
            return HIDDEN
        shown.append(_redacted_pair(pair["name"], pair["value"]))
        position = pair.end()
    return " ".join(shown)


def _redacted_pair(name: str, value: str) -> str:
    if name in _PUBLIC_PARAMETERS:
        return f"{name}={value}"
    # Any other name is shown only in libpq's notation; otherwise it may be a part of a secret.
    shown_name = name if re.fullmatch(r"[a-z]+(_[a-z]+)*", name) else HIDDEN
    return f"{shown_name}={HIDDEN}"
