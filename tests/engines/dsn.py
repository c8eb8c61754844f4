"""Connection strings: take one apart, put one together; no connection is made here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2.extensions import parse_dsn

from engines.errors import EngineError

__all__ = ["database_of", "with_database"]

_IN_THE_ADDRESS: Final = ("user", "password", "host", "port", "dbname")


def with_database(dsn: str, database: str) -> str:
    """The same server and options with another database, as a `postgresql://` URI."""
    return _uri({**_parts(dsn), "dbname": database})


def database_of(dsn: str) -> str:
    """The name of the database that the connection string leads to."""
    parts = _parts(dsn)
    return parts.get("dbname") or parts.get("user") or "postgres"


def _parts(dsn: str) -> dict[str, str]:
    try:
        parts = parse_dsn(dsn)
    except psycopg2.ProgrammingError as error:
        raise EngineError(
            f"read the connection string: {error}; write postgresql://user:password@host:port/name "
            "or key=value pairs as libpq takes them"
        ) from error
    return {name: str(value) for name, value in parts.items()}


def _uri(parts: Mapping[str, str]) -> str:
    options = {name: value for name, value in parts.items() if name not in _IN_THE_ADDRESS}
    host = parts.get("host", "")
    if not _fits_an_address(host):  # a socket's folder, or several hosts
        options["host"] = host
        host = ""
    user = ":".join(quote(parts[name], safe="") for name in ("user", "password") if name in parts)
    port = f":{parts['port']}" if "port" in parts else ""
    bracketed = f"[{host}]" if ":" in host else host
    question = f"?{urlencode(options, quote_via=quote)}" if options else ""
    at = f"{user}@" if user else ""
    return f"postgresql://{at}{bracketed}{port}/{quote(parts['dbname'], safe='')}{question}"


def _fits_an_address(host: str) -> bool:
    return not any(mark in host for mark in "/,@")
