"""Inserting many rows with few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backends.sqlite.rows import Rows, insert_rows, statement_rows
from exporter.tables import Column, Table

TABLE = Table(
    "pairs", (Column("timestamp", "time"), Column("series_id", "id"), Column("text", "text"))
)


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        opened.execute(
            "CREATE TABLE pairs (timestamp INTEGER, series_id INTEGER, text TEXT NOT NULL, "
            "PRIMARY KEY (timestamp, series_id)) WITHOUT ROWID"
        )
        yield opened


def rows(*values: tuple[int, int, str | None]) -> Rows:
    return Rows(TABLE, [value for row in values for value in row])


def content(connection: sqlite3.Connection) -> list[tuple[int, int, str]]:
    return connection.execute("SELECT * FROM pairs").fetchall()


@given(st.integers(1, 1_000_000), st.sampled_from([1, 2, 64, 4_096]))
def test_statement_sizes_are_few_and_have_little_padding(left: int, most: int) -> None:
    size = statement_rows(left, most)
    assert size <= most
    assert size.bit_count() == 1  # so at most 13 different statements a table
    assert size - left <= left // 4
    assert size >= min(left / 2, most)


def test_no_rows_take_no_statement(connection: sqlite3.Connection) -> None:
    assert insert_rows(connection, rows()) == 0
    assert connection.total_changes == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5, 100, 127, 1_000, 4_096, 5_000, 60_000])
def test_every_row_is_stored_with_few_statements(
    connection: sqlite3.Connection, count: int
) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    given_rows = [(index, -index, str(index)) for index in range(count)]
    assert insert_rows(connection, rows(*given_rows)) == count
    connection.set_trace_callback(None)
    assert content(connection) == given_rows
    assert len(statements) <= count // 4_096 + 5


def test_stored_rows_are_replaced_and_not_counted(connection: sqlite3.Connection) -> None:
    insert_rows(connection, rows((1, 1, "a"), (2, 2, "b"), (3, 3, "c")))
    assert insert_rows(connection, rows((2, 2, "B"), (4, 4, "d"), (3, 3, "C"))) == 1
    assert content(connection) == [(1, 1, "a"), (2, 2, "B"), (3, 3, "C"), (4, 4, "d")]


def test_a_violated_constraint_is_an_error(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
        insert_rows(connection, rows((1, 1, "a"), (2, 2, None)))


def test_a_library_with_few_variables_is_enough(connection: sqlite3.Connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 10)
    given_rows = [(index, index, "x") for index in range(25)]
    assert insert_rows(connection, rows(*given_rows)) == 25
    assert content(connection) == given_rows
