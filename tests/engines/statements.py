"""Runs single statements on a psycopg2 connection."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import psycopg2.extensions

Connection = psycopg2.extensions.connection


def execute(
    connection: Connection, statement: str, parameters: Sequence[object] | None = None
) -> list[Any]:
    """Run a statement and return its rows, or an empty list if it returns none."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def copy_in(connection: Connection, statement: str, data: bytes) -> int:
    """Run a COPY FROM STDIN and return how many rows it took."""
    with connection.cursor() as cursor:
        cursor.copy_expert(statement, io.BytesIO(data))
        return cursor.rowcount


def copy_out(connection: Connection, statement: str) -> bytes:
    """Run a COPY TO STDOUT and return its output."""
    data = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(statement, data)
    return data.getvalue()
