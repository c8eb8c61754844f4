"""docs/schema-postgresql.md describes the real schema, and its queries return rows."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from engines.databases import Databases
from engines.statements import Connection, execute
from kit.backends.documented_rows import documented_rows
from kit.backends.samples import SECOND

from exporter.backends.postgresql import PostgreSQLBackend
from exporter.tables import COST_STREAMS, FACT_TABLES, SERIES, SQL_TYPES, Table

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "schema-postgresql.md").read_text(encoding="utf-8")
OTHER_PAGE = (DOCS / "schema.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"^(\S[^\n]*):\n\n```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
SECTIONS = {
    match[1]: section.partition("\n## ")[0]
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    if (match := re.match(r"`(\w+)`", section))
}


@pytest.fixture(scope="module")
def store(postgresql_server: Databases) -> Iterator[Connection]:
    with postgresql_server.fresh() as dsn:
        backend = PostgreSQLBackend(dsn)
        backend.start()
        backend.write(documented_rows(time.time_ns() - 600 * SECOND))
        backend.close()
        with closing(psycopg2.connect(dsn)) as connection:
            yield connection


def columns_of(store: Connection, table: str) -> list[tuple[str, str, bool]]:
    return execute(
        store,
        "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        (table,),
    )


def documented(table: str) -> list[tuple[str, str, bool]]:
    found = re.findall(r"^\| `(\w+)` \| ([^|]*?) \| ([^|]*)\|$", SECTIONS[table], re.MULTILINE)
    return [(name, kind, bool(null.strip())) for name, kind, null in found]


def test_the_documented_tables_are_those_of_the_database(store: Connection) -> None:
    tables = execute(
        store,
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'p', 'v') AND NOT relispartition",
    )
    assert set(SECTIONS) == {name for (name,) in tables}


@pytest.mark.parametrize("table", SECTIONS)
def test_the_documented_columns_are_those_of_the_database(store: Connection, table: str) -> None:
    columns = columns_of(store, table)
    if table == "metric_samples":  # the catalogue does not have NOT NULL for the columns of a view
        may_be_null = {
            name
            for source in ("metric_series", "system_metrics")
            for name, _, null in columns_of(store, source)
            if null
        }
        columns = [(name, kind, name in may_be_null) for name, kind, _ in columns]
    # Columns that a migration adds are the last ones of the table.
    assert sorted(documented(table)) == sorted(columns)


@pytest.mark.parametrize("table", [*FACT_TABLES, SERIES, COST_STREAMS], ids=lambda one: one.name)
def test_the_tables_are_those_that_the_code_describes(store: Connection, table: Table) -> None:
    columns = [
        (column.name, SQL_TYPES["postgresql"][column.kind], column.nullable)
        for column in table.columns
    ]
    stored = [column for column in columns_of(store, table.name) if column[0] != "first_seen"]
    assert sorted(columns) == sorted(stored)


@pytest.mark.parametrize("table", sorted(SECTIONS))
def test_column_names_are_those_of_sqlite(table: str) -> None:
    section = OTHER_PAGE[OTHER_PAGE.index(f"### `{table}`") :].partition("\n## ")[0]
    section = section[4:].partition("\n### ")[0]
    names = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    # SQLite stores an exact amount in three more columns, and the start in the key of points.
    names = [name for name in names if not name.startswith("amount_") and name != "start_micros"]
    assert [name for name, _, _ in documented(table)] == names


def test_every_sql_block_has_a_title() -> None:
    assert len(STATEMENTS) == PAGE.count("```sql")
    assert len(STATEMENTS) >= 8


@pytest.mark.parametrize(
    "statement", [sql for _, sql in STATEMENTS], ids=[q for q, _ in STATEMENTS]
)
def test_a_query_returns_rows(store: Connection, statement: str) -> None:
    rows = execute(store, statement)
    assert rows
    assert all(any(value is not None for value in row) for row in rows)


def result(store: Connection, title: str) -> list[tuple[object, ...]]:
    [statement] = [sql for asked, sql in STATEMENTS if asked.startswith(title)]
    return execute(store, statement)


def test_results_of_the_queries(store: Connection) -> None:
    assert result(store, "The metrics with")[0][2:] == ("1", 602, 2)
    assert {row[2:] for row in result(store, "Averages of five")} == {(0.5, 0.5)}
    assert result(store, "Averages by an attribute") == [("host-1", "user", 0.5)]
    assert {row[3] for row in result(store, "The rate per second")} == {1.0}
    assert [row[2:] for row in result(store, "The average and the buckets")][:3] == [
        (0.5, 1),
        (5.0, 3),
        (float("inf"), 2),
    ]
    assert result(store, "Traces of the slowest")[0][1] == 9.0
    repairing = [(row[1], json.loads(str(row[5]))) for row in result(store, "Refused rows")]
    assert repairing == [
        ("point", {"cpu": 9}),
        ("point", {"cpu": 0, "state": "user"}),
        ("series", {"cpu": 9}),
    ]
