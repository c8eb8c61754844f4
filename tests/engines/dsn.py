"""Parses and builds connection strings; opens no connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2.extensions import parse_dsn

from engines.errors import EngineError

_ADDRESS_PARAMETERS: Final = ("user", "password", "host", "port", "dbname")


def with_database(dsn: str, database: str) -> str:
    """The same server and options with another database, as a `postgresql://` URI."""
    return _uri({**_parse(dsn), "dbname": database})


def database_of(dsn: str) -> str:
    """The name of the database in the connection string."""
    parts = _parse(dsn)
    return parts.get("dbname") or parts.get("user") or "postgres"


def _parse(dsn: str) -> dict[str, str]:
    try:
        parts = parse_dsn(dsn)
    except psycopg2.ProgrammingError as error:
        raise EngineError(
            f"the connection string is not valid: {error}; write "
            "postgresql://user:password@host:port/name or key=value pairs as libpq accepts them"
        ) from error
    return {name: str(value) for name, value in parts.items()}


def _uri(parts: Mapping[str, str]) -> str:
    options = {name: value for name, value in parts.items() if name not in _ADDRESS_PARAMETERS}
    host = parts.get("host", "")
    if not _is_one_host(host):  # a socket's folder, or several hosts
        options["host"] = host
        host = ""
    user = ":".join(quote(parts[name], safe="") for name in ("user", "password") if name in parts)
    port = f":{parts['port']}" if "port" in parts else ""
    bracketed = f"[{host}]" if ":" in host else host
    query = f"?{urlencode(options, quote_via=quote)}" if options else ""
    at = f"{user}@" if user else ""
    return f"postgresql://{at}{bracketed}{port}/{quote(parts['dbname'], safe='')}{query}"


def _is_one_host(host: str) -> bool:
    return not any(mark in host for mark in "/,@")
