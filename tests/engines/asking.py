"""Short forms of what tests do with a psycopg2 connection."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import psycopg2.extensions

__all__ = ["Connection", "ask", "copy_in", "copy_out"]

Connection = psycopg2.extensions.connection


def ask(
    connection: Connection, statement: str, parameters: Sequence[object] | None = None
) -> list[Any]:
    """Run a statement and return its rows; none if it has none."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def copy_in(connection: Connection, statement: str, data: bytes) -> int:
    """Run a COPY FROM STDIN and return how many rows it took."""
    with connection.cursor() as cursor:
        cursor.copy_expert(statement, io.BytesIO(data))
        return cursor.rowcount


def copy_out(connection: Connection, statement: str) -> bytes:
    """Run a COPY TO STDOUT and return what it gave."""
    data = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(statement, data)
    return data.getvalue()
