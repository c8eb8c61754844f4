"""Behaviour that the PostgreSQL and TimescaleDB of the tests have in common."""

from __future__ import annotations

import io
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import numpy as np
import psycopg2
import pytest
from engines.databases import Databases
from engines.dsn import database_of, with_database
from engines.errors import EngineError
from engines.statements import Connection, copy_in, copy_out, execute
from psycopg2 import errors

ROW_TYPE = [
    ("fields", ">i2"),
    ("at_length", ">i4"),
    ("at", ">i8"),
    ("series_length", ">i4"),
    ("series", ">i8"),
    ("value_length", ">i4"),
    ("value", ">f8"),
]
SAMPLES = "CREATE TABLE samples (at timestamptz, series bigint, value float8)"
ROWS = 100_000


def binary_copy_data(count: int) -> bytes:
    rows = np.zeros(count, dtype=ROW_TYPE)
    rows["fields"] = 3
    rows["at_length"] = rows["series_length"] = rows["value_length"] = 8
    rows["at"] = np.arange(count) * 1_000_000
    rows["series"] = np.arange(count) % 1_000
    rows["value"] = np.arange(count) / 7
    header = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
    return header + rows.tobytes() + b"\xff\xff"


@pytest.fixture(params=["postgresql", "timescaledb"])
def server(request: pytest.FixtureRequest) -> Databases:
    databases: Databases = request.getfixturevalue(f"{request.param}_server")
    return databases


@pytest.fixture
def database(server: Databases) -> Iterator[str]:
    with server.fresh() as dsn:
        yield dsn


@pytest.fixture
def connect(database: str) -> Iterator[Callable[..., Connection]]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(closing(psycopg2.connect(database, **options)))


def test_the_server_reports_its_version(connect: Callable[..., Connection]) -> None:
    connection = connect()
    assert execute(connection, "SHOW server_version_num") == [(str(connection.server_version),)]


def test_each_database_is_empty(server: Databases) -> None:
    for _ in range(2):
        with server.fresh() as dsn, closing(psycopg2.connect(dsn)) as connection, connection:
            execute(connection, "CREATE TABLE samples (value int)")
            execute(connection, "INSERT INTO samples VALUES (1)")


def test_two_databases_are_independent(server: Databases) -> None:
    with server.fresh() as one, server.fresh() as other:
        assert database_of(one) != database_of(other)
        with closing(psycopg2.connect(one)) as connection, connection:
            execute(connection, "CREATE TABLE samples (value int)")
        with (
            closing(psycopg2.connect(other)) as connection,
            pytest.raises(errors.UndefinedTable),
        ):
            execute(connection, "SELECT * FROM samples")


def test_drop_disconnects_clients(server: Databases) -> None:
    dsn = server.create()
    with closing(psycopg2.connect(dsn)) as connection:
        execute(connection, "SELECT 1")
        server.drop(dsn)
        with pytest.raises(psycopg2.OperationalError):
            execute(connection, "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(dsn)


def test_only_created_databases_are_dropped(server: Databases) -> None:
    with pytest.raises(EngineError, match="'postgres': these tests did not create it"):
        server.drop(with_database(server.maintenance_dsn, "postgres"))


def test_a_wrong_password_is_refused(database: str, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--pg-dsn") or pytestconfig.getoption("--timescaledb-dsn"):
        pytest.skip("an existing server may not ask for passwords")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(database, password="wrong")  # noqa: S106 - it is the point


def test_an_error_aborts_the_transaction_until_rollback(connect: Callable[..., Connection]) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE samples (value int)")
    connection.commit()
    execute(connection, "INSERT INTO samples VALUES (1)")
    with pytest.raises(errors.DivisionByZero):
        execute(connection, "SELECT 1 / 0")
    with pytest.raises(errors.InFailedSqlTransaction):
        execute(connection, "SELECT 1")
    assert connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR
    connection.rollback()
    assert execute(connection, "SELECT count(*) FROM samples") == [(0,)]


def test_rollback_to_a_savepoint(connect: Callable[..., Connection]) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE samples (value int); SAVEPOINT before")
    with pytest.raises(errors.UndefinedColumn):
        execute(connection, "SELECT nothing FROM samples")
    execute(connection, "ROLLBACK TO before")
    connection.commit()
    assert execute(connection, "SELECT count(*) FROM samples") == [(0,)]


def test_closing_a_connection_rolls_back(connect: Callable[..., Connection]) -> None:
    connection, gone = connect(), connect()
    execute(gone, "CREATE TABLE samples (value int)")
    gone.close()
    with pytest.raises(errors.UndefinedTable):
        execute(connection, "SELECT * FROM samples")


def test_binary_copy_round_trip(connect: Callable[..., Connection]) -> None:
    connection = connect()
    execute(connection, SAMPLES)
    data = binary_copy_data(ROWS)
    assert copy_in(connection, "COPY samples FROM STDIN WITH (FORMAT binary)", data) == ROWS
    connection.commit()
    assert execute(connection, "SELECT count(*), max(at) FROM samples")[0][0] == ROWS
    assert copy_out(connection, "COPY samples TO STDOUT WITH BINARY") == data


@pytest.mark.parametrize(
    ("statement", "data"),
    [
        ("COPY t FROM STDIN", b"1\tone\n2\t\\N\n"),
        ("copy t (number, word)\nfrom -- STDIN of the client\n stdin;", b"1\tone\n2\t\\N\n"),
        ("/* COPY t TO STDOUT */ COPY t FROM stdin WITH (FORMAT csv)", b"1,one\n2,\n"),
        ("COPY t FROM STDIN (FORMAT csv, NULL 'STDIN', HEADER)", b"n,w\n1,one\n2,STDIN\n"),
        ('COPY "public"."t" FROM STDIN WITH DELIMITER AS \';\'', b"1;one\n2;\\N\n"),
        ("COPY t FROM STDIN WITH (DELIMITER $a$;$a$)", b"1;one\n2;\\N\n"),
    ],
    ids=["text", "comment-inside", "csv", "quoted-word", "quoted-name", "dollar-quotes"],
)
def test_spellings_of_copy_from_stdin(
    connect: Callable[..., Connection], statement: str, data: bytes
) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE t (number int, word text)")
    assert copy_in(connection, statement, data) == 2
    assert execute(connection, "SELECT * FROM t ORDER BY number") == [(1, "one"), (2, None)]


def test_copy_of_a_query_to_stdout(connect: Callable[..., Connection]) -> None:
    query = "SELECT i, 'to stdout' FROM generate_series(1, 50000) i"
    data = copy_out(connect(), f"COPY ({query}) TO STDOUT WITH (FORMAT csv)")
    assert data == b"".join(b"%d,to stdout\n" % number for number in range(1, 50_001))


@pytest.mark.parametrize(
    ("statement", "data", "error", "words"),
    [
        ("COPY samples FROM STDIN", b"1\nx\n", errors.InvalidTextRepresentation, "line 2, column"),
        ("COPY samples FROM STDIN WITH BINARY", b"x", errors.BadCopyFileFormat, "signature"),
        ("COPY samples FROM STDIN", b"1\t2\n", errors.BadCopyFileFormat, "extra data"),
        ("COPY absent FROM STDIN", b"", errors.UndefinedTable, '"absent" does not exist'),
        ("COPY words FROM STDIN", b"a\0b\n", errors.CharacterNotInRepertoire, "0x00"),
        ("COPY words FROM STDIN", b"a\xff\n", errors.CharacterNotInRepertoire, "0xff"),
        ("COPY absent TO STDOUT", b"", errors.UndefinedTable, '"absent" does not exist'),
    ],
    ids=["text", "signature", "columns", "no-table", "nul", "not-utf8", "out"],
)
def test_a_failed_copy_aborts_only_its_transaction(
    connect: Callable[..., Connection],
    statement: str,
    data: bytes,
    error: type[Exception],
    words: str,
) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE samples (value int); CREATE TABLE words (word text)")
    connection.commit()
    with pytest.raises(error, match=words):
        copy_in(connection, statement, data)
    with pytest.raises(errors.InFailedSqlTransaction):
        execute(connection, "SELECT 1")
    connection.rollback()
    assert copy_in(connection, "COPY samples FROM STDIN", b"1\n") == 1


class BrokenSource(io.RawIOBase):
    def read(self, _size: int = -1) -> bytes:
        raise OSError("the source broke")


@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "transaction"])
def test_a_copy_is_cancelled_when_its_source_fails(
    connect: Callable[..., Connection], *, autocommit: bool
) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE samples (value int)")
    connection.commit()
    connection.autocommit = autocommit
    with (
        connection.cursor() as cursor,
        pytest.raises(errors.QueryCanceled, match="the source broke"),
    ):
        cursor.copy_expert("COPY samples FROM STDIN", BrokenSource())
    connection.rollback()
    assert execute(connection, "SELECT count(*) FROM samples") == [(0,)]


def test_text_is_unicode_without_nul(connect: Callable[..., Connection]) -> None:
    connection = connect()
    text = "äöü €  𝄞 漢字 \\ ' \" \n\t"
    assert execute(connection, "SELECT %s, %s::jsonb", (text, '{"a": "€"}')) == [(text, {"a": "€"})]
    with pytest.raises(errors.UntranslatableCharacter):
        execute(connection, "SELECT '{\"a\": \"\\u0000\"}'::jsonb ->> 'a'")


def test_each_connection_keeps_its_settings(connect: Callable[..., Connection]) -> None:
    one = connect(options="-c work_mem=5MB", application_name="one")
    other = connect(application_name="other")
    one.autocommit = other.autocommit = True
    execute(one, "SET search_path = pg_temp; SET statement_timeout = '7s'")
    execute(other, "SET TimeZone = 'Asia/Tokyo'")
    settings = "work_mem", "application_name", "search_path", "statement_timeout", "TimeZone"
    question = "SELECT " + ", ".join(f"current_setting('{name}')" for name in settings)
    for _ in range(2):
        assert execute(one, question)[0][:4] == ("5MB", "one", "pg_temp", "7s")
        assert execute(other, question)[0][1:] == ("other", '"$user", public', "0", "Asia/Tokyo")
    execute(one, "RESET search_path")
    assert execute(one, "SHOW search_path") == [('"$user", public',)]


def test_privileges_of_a_role(connect: Callable[..., Connection]) -> None:
    owner = connect()
    owner.autocommit = True
    execute(owner, "CREATE TABLE samples (value int); CREATE TABLE secrets (value int)")
    execute(owner, "DROP ROLE IF EXISTS engines_test_role; CREATE ROLE engines_test_role")
    execute(owner, "GRANT INSERT ON samples TO engines_test_role")
    try:
        other = connect()
        other.autocommit = True
        execute(other, "SET ROLE engines_test_role")
        execute(other, "INSERT INTO samples VALUES (1)")
        with pytest.raises(errors.InsufficientPrivilege):
            execute(other, "CREATE TABLE more (value int)")
        with pytest.raises(errors.InsufficientPrivilege):
            execute(other, "SELECT * FROM secrets")
        assert execute(owner, "SELECT current_user <> 'engines_test_role'") == [(True,)]
    finally:
        execute(owner, "DROP OWNED BY engines_test_role; DROP ROLE engines_test_role")


def test_threads_write_at_the_same_time(connect: Callable[..., Connection]) -> None:
    owner = connect()
    execute(owner, "CREATE TABLE samples (thread int, number int)")
    owner.commit()
    per_thread = 25

    def work(connection: Connection, thread: int) -> None:
        for number in range(per_thread):
            with connection:
                execute(connection, "SELECT count(*) FROM samples")
                copy_in(connection, "COPY samples FROM STDIN", b"%d\t%d\n" % (thread, number))

    threads = [threading.Thread(target=work, args=(connect(), number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    question = "SELECT thread, count(DISTINCT number) FROM samples GROUP BY 1 ORDER BY 1"
    assert execute(owner, question) == [(number, per_thread) for number in range(4)]


def test_a_session_level_advisory_lock_blocks_others(connect: Callable[..., Connection]) -> None:
    holder, other = connect(), connect()
    holder.autocommit = other.autocommit = True
    order: list[str] = []
    execute(holder, "SELECT pg_advisory_lock(7)")

    def wait() -> None:
        execute(other, "SELECT pg_advisory_lock(7)")
        order.append("other")

    waiting = threading.Thread(target=wait)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    order.append("holder")
    execute(holder, "SELECT pg_advisory_unlock(7)")
    waiting.join()
    assert order == ["holder", "other"]


def test_a_server_side_cursor(connect: Callable[..., Connection]) -> None:
    with connect().cursor("pieces") as cursor:
        cursor.execute("SELECT * FROM generate_series(1, 1000)")
        assert len(cursor.fetchmany(10)) == 10
        assert len(cursor.fetchall()) == 990


def test_a_small_table_has_a_sequential_scan(connect: Callable[..., Connection]) -> None:
    connection = connect()
    execute(connection, "CREATE TABLE samples (value int PRIMARY KEY)")
    assert "Seq Scan" in execute(connection, "EXPLAIN SELECT * FROM samples")[0][0]
