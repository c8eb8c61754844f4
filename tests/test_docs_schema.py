"""docs/schema.md describes the real schema, and its statements run and return rows."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kit.backends.documented_rows import documented_rows
from kit.backends.samples import NOW

from exporter.backends.sqlite import SQLiteBackend
from exporter.backends.sqlite.store_file import STORE_FILE
from exporter.tables import COST_STREAMS, FACT_TABLES, SERIES, SQL_TYPES, Table

PAGE = (Path(__file__).parents[1] / "docs" / "schema.md").read_text(encoding="utf-8")
STATEMENTS = re.findall(r"^(\S[^\n]*):\n\n```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)
NEVER_NULL, MAY_BE_NULL = False, True

Column = tuple[str, str, str, bool]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("docs") / "store.db"
    backend = SQLiteBackend(path)
    backend.start()
    backend.write(documented_rows(NOW))
    backend.close()
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        yield connection


def documented() -> set[Column]:
    found = set()
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        name = re.match(r"`(\w+)`", section)
        assert name is not None
        for column, kind, null in re.findall(
            r"^\| `(\w+)` \| (\w*) ?\| ([^|]*)\| \S", section, re.MULTILINE
        ):
            found.add((name[1], column, kind, bool(null.strip())))
    return found


def real(store: sqlite3.Connection) -> set[Column]:
    found = set()
    for table, kind in store.execute(
        "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view')"
    ).fetchall():
        for _, column, declared, not_null, _, key, _ in store.execute(
            "SELECT * FROM pragma_table_xinfo(?)", (table,)
        ):
            null = kind == "table" and not (not_null or key)
            found.add((table, column, declared, null))
    return found


def test_documented_and_real_columns_are_equal(store: sqlite3.Connection) -> None:
    columns = real(store)
    # SQLite does not declare which columns of a view may be NULL; that is as in its tables.
    sources = ("metric_series", "system_metrics")
    of_tables = {(name, null) for table, name, _, null in columns if table in sources}
    view = {
        (table, name, kind, (name, MAY_BE_NULL) in of_tables)
        for table, name, kind, _ in columns
        if table == "metric_samples"
    }
    tables = {column for column in columns if column[0] != "metric_samples"}
    assert documented() == tables | view


@pytest.mark.parametrize("table", [*FACT_TABLES, SERIES, COST_STREAMS], ids=lambda one: one.name)
def test_the_tables_are_those_that_the_code_describes(
    store: sqlite3.Connection, table: Table
) -> None:
    columns = [
        (f"{column.name}{part}", SQL_TYPES["sqlite"][column.kind], column.nullable)
        for column in table.columns
        for part in (("_units", "_nanos", "_attos") if column.kind == "amount" else ("",))
    ]
    filled_by_sqlite = {("metric_series", "first_seen"), ("cost_entries", "amount")}
    # The start of a point is stored in start_micros, from which SQLite makes start_timestamp.
    filled_by_sqlite |= {
        (name, "start_micros")
        for name in ("system_metrics", "metric_histograms", "metric_summaries")
    }
    stored = [
        (name, declared, not (not_null or key))
        for _, name, declared, not_null, _, key, _ in store.execute(
            "SELECT * FROM pragma_table_xinfo(?)", (table.name,)
        )
        if (table.name, name) not in filled_by_sqlite
    ]
    assert columns == stored


def test_columns_are_documented_in_their_order(store: sqlite3.Connection) -> None:
    for section in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        table = section[1 : section.index("`", 1)]
        rows = store.execute("SELECT name FROM pragma_table_xinfo(?)", (table,))
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [name for (name,) in rows]


def test_every_statement_of_the_page_is_found() -> None:
    assert len(STATEMENTS) == PAGE.count("```sql")
    assert len(STATEMENTS) >= 8


@pytest.mark.parametrize(
    "statement", [sql for _, sql in STATEMENTS], ids=[q for q, _ in STATEMENTS]
)
def test_a_statement_returns_rows(store: sqlite3.Connection, statement: str) -> None:
    rows = rows_of(store, statement)
    assert rows
    # A column of NULLs would mean a wrong join, or a number made from the text 'NaN'.
    assert all(any(value is not None for value in row) for row in rows)


def rows_of(store: sqlite3.Connection, statement: str) -> list[tuple[object, ...]]:
    if "->>" in statement and sqlite3.sqlite_version_info < (3, 38):
        pytest.skip(f"SQLite {sqlite3.sqlite_version} has no ->>, as the page says")
    return store.execute(statement).fetchall()


def answer(store: sqlite3.Connection, question: str) -> list[tuple[object, ...]]:
    [statement] = [sql for asked, sql in STATEMENTS if asked.startswith(question)]
    return rows_of(store, statement)


def test_statements_return_the_stored_values(store: sqlite3.Connection) -> None:
    assert answer(store, "The stored metrics")[0][2:] == ("1", 602, 2)
    assert [row[2:] for row in answer(store, "Averages of five")][-1] == (0.5, 0.5, 100)
    exact = ("2023-11", "compute", "USD", 0, 750_000_000, 0, "0.75", 2)
    assert answer(store, "The exact costs") == [exact]
    assert answer(store, "Points with one value") == [("user", 0.5)]
    assert answer(store, "Series by a resource") == [("host-1", 4)]
    assert {row[3] for row in answer(store, "The growth")} == {1.0}
    assert [row[2:] for row in answer(store, "Average and single")][:3] == [
        (0.5, 1),
        (5.0, 3),
        ("more", 2),
    ]
    assert answer(store, "Traces of the slowest")[0][1] == 9.0
    repairing = [(row[1], row[5]) for row in answer(store, "Refused rows")]
    assert repairing == [
        ("point", '{"cpu":9}'),
        ("point", '{"cpu":0,"state":"user"}'),
        ("series", '{"cpu":9}'),
    ]
    reasons = sorted(row[2:4] for row in answer(store, "Reasons of"))
    assert reasons == [("too large", 1), ("too large", 1), ("too long", 1)]


def test_the_application_id_is_the_real_one() -> None:
    assert f"`application_id` {STORE_FILE.application_id}" in PAGE
