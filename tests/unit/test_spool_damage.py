"""A damaged file is set aside, and costs no more than the damage has hit."""

import logging
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.spool.samples import START, digest_of, entry, group, read_all, spool_at

from exporter.spool import Spool, SpoolRefusedError, SpoolUnavailableError

PAGE = 8192
REQUESTS = 40


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def fill(path: Path) -> str:
    """A closed spool with 40 requests, of which 10 are released; its receiver id."""
    spool = spool_at(path)
    spool.start()
    spool.append(group(range(1, REQUESTS + 1), size_bytes=9_000))
    spool.release(10)
    spool.compact(START)
    spool.close()
    return spool.state.receiver_id


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def aside(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.glob(f"{path.name}.corrupt-*"))


def check_usable(spool: Spool) -> None:
    """Every count is true and the queue goes on."""
    found = read_all(spool)
    assert spool.state.pending_requests == len(found)
    assert spool.state.pending_entries == sum(one.entries for one in found)
    first = spool.state.last_sequence + 1
    spool.append(group([first, first + 1]))
    assert read_all(spool) == [*found, entry(first), entry(first + 1)]
    spool.release(first)
    spool.compact(START)
    assert spool.state.pending_requests == 1


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("zeroed header", lambda path: overwrite(path, 0, bytes(100))),
        ("another format", lambda path: path.write_text("not a database\n" * 1_000)),
        ("a few bytes", lambda path: path.write_bytes(b"x")),
        ("first page torn", lambda path: overwrite(path, 0, Random(1).randbytes(PAGE))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_without_a_header_is_set_aside(
    path: Path, name: str, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    receiver_id = fill(path)
    damage(path)
    damaged = path.read_bytes()
    spool = spool_at(path)
    spool.start()
    assert spool.state.damaged_files == 1, name
    assert spool.state.receiver_id != receiver_id
    assert read_all(spool) == []
    assert aside(path) == ["spool.db.corrupt-1"]
    assert path.with_name("spool.db.corrupt-1").read_bytes() == damaged
    check_usable(spool)
    spool.close()
    assert "a new one is created" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize("content", ["zeros", "noise", "half"])
def test_any_torn_page_costs_few_requests(tmp_path: Path, content: str) -> None:
    original = tmp_path / "original.db"
    receiver_id = fill(original)
    pages = original.stat().st_size // PAGE
    assert pages > REQUESTS
    noise = {"zeros": bytes(PAGE), "noise": Random(1).randbytes(PAGE), "half": bytes(PAGE // 2)}
    costs = []
    for page in range(1, pages):  # all but the header
        path = tmp_path / f"{page}.db"
        path.write_bytes(original.read_bytes())
        overwrite(path, page * PAGE, noise[content])
        spool = spool_at(path)
        spool.start()
        found = read_all(spool)
        wanted = {sequence: entry(sequence, 9_000) for sequence in range(11, REQUESTS + 1)}
        assert all(wanted[one.sequence] == one for one in found)
        if spool.state.receiver_id == receiver_id:
            costs.append(len(wanted) - len(found))
        check_usable(spool)
        spool.close()
    *others, root = sorted(costs)
    assert len(others) > pages - 5  # all but those of the name and of the list of tables
    assert root <= len(wanted)  # without the page that finds the others, all are out of reach
    assert others[-1] <= 12  # a page with the beginnings of a dozen requests
    assert others[len(others) // 2] == 1  # most pages belong to one


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 20))
def test_flipped_bytes_never_come_back_as_data(seed: int, flips: int) -> None:
    random = Random(seed)
    with TemporaryDirectory() as folder:
        path = Path(folder, "spool.db")
        fill(path)
        content = bytearray(path.read_bytes())
        for _ in range(flips):
            content[random.randrange(100, len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content)
        spool = spool_at(path)
        spool.start()
        originals = {entry(sequence, 9_000).data for sequence in range(1, REQUESTS + 1)}
        assert {one.data for one in read_all(spool)} <= originals
        spool.close()


@pytest.mark.parametrize("keep", [1, PAGE - 1, PAGE, 5 * PAGE, 20 * PAGE + 17])
def test_a_truncated_file_gives_what_it_still_has(path: Path, keep: int) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.truncate(keep)
    spool = spool_at(path)
    spool.start()
    assert spool.state.damaged_files == 1
    wanted = {sequence: entry(sequence, 9_000) for sequence in range(11, REQUESTS + 1)}
    assert all(wanted[one.sequence] == one for one in read_all(spool))
    check_usable(spool)
    spool.close()


def copy_while_open(path: Path) -> Path:
    """A spool as a crash leaves it, with its last requests in the -wal only."""
    spool = spool_at(path)
    spool.start()
    spool.append(group(range(1, 21), size_bytes=9_000))
    spool.compact(START)
    spool.append(group(range(21, 31), size_bytes=9_000))
    crashed = path.with_name("crashed.db")
    for suffix in ("", "-wal"):
        crashed.with_name(crashed.name + suffix).write_bytes(
            path.with_name(path.name + suffix).read_bytes()
        )
    spool.close()
    return crashed


def test_a_garbage_wal_is_set_aside_and_the_file_is_used(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crashed = copy_while_open(path)
    wal = crashed.with_name("crashed.db-wal")
    wal.write_bytes(Random(1).randbytes(wal.stat().st_size))
    spool = spool_at(crashed)
    spool.start()
    assert spool.state.damaged_files == 1
    assert read_all(spool) == [entry(sequence, 9_000) for sequence in range(1, 21)]
    assert aside(crashed) == ["crashed.db.corrupt-1-wal"]
    assert re.search(
        "its -wal is not a WAL file and was moved to .*crashed.db.corrupt-1-wal", caplog.text
    )
    check_usable(spool)
    spool.close()


def test_a_torn_end_of_the_wal_is_what_a_crash_leaves(path: Path) -> None:
    crashed = copy_while_open(path)
    wal = crashed.with_name("crashed.db-wal")
    wal.write_bytes(wal.read_bytes() + Random(1).randbytes(5_000))
    spool = spool_at(crashed)
    spool.start()
    assert spool.state.damaged_files == 0
    assert read_all(spool) == [entry(sequence, 9_000) for sequence in range(1, 31)]
    spool.close()


def test_the_wal_goes_with_the_file_that_is_set_aside(path: Path) -> None:
    crashed = copy_while_open(path)
    overwrite(crashed, 10 * PAGE, bytes(PAGE))
    spool = spool_at(crashed)
    spool.start()
    found = read_all(spool)
    assert 25 <= len(found) < 30
    assert all(one == entry(one.sequence, 9_000) for one in found)
    assert found[-1].sequence == 30  # which was in the -wal only
    check_usable(spool)
    spool.close()


def damage_data(path: Path, sequence: int) -> None:
    """Change a byte of a request's data, as a disk may; SQLite cannot see it."""
    connection = sqlite3.connect(path)
    connection.execute(
        "UPDATE requests SET data = CAST(substr(data, 1, 4000) || x'00' || substr(data, 4002) "
        "AS BLOB) WHERE sequence = ?",
        (sequence,),
    )
    connection.commit()
    connection.close()


def test_damage_that_is_found_while_running_costs_that_request(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    spool = spool_at(path)
    spool.start()
    damage_data(path, 20)
    assert [one.sequence for one in read_all(spool)] == [*range(11, 20), *range(21, REQUESTS + 1)]
    assert spool.state.damaged_files == 1
    assert spool.state.lost_entries == entry(20).entries
    assert "reading request 20: a compressed request is damaged" in caplog.text
    assert all(digest_of(sequence) in spool.state.digests for sequence in range(1, REQUESTS + 1))
    check_usable(spool)
    spool.close()


def test_a_running_spool_keeps_its_name_and_place_when_its_file_is_replaced(path: Path) -> None:
    receiver_id = fill(path)
    spool = spool_at(path)
    spool.start()
    spool.release(35)
    damage_data(path, REQUESTS)
    assert [one.sequence for one in read_all(spool)] == [36, 37, 38, 39]
    assert (spool.state.receiver_id, spool.state.last_sequence) == (receiver_id, REQUESTS)
    with pytest.raises(ValueError, match="comes after 40"):
        spool.append(group([REQUESTS]))
    spool.append(group([REQUESTS + 1]))
    spool.close()
    again = spool_at(path)
    again.start()
    assert (again.state.receiver_id, again.state.last_sequence) == (receiver_id, REQUESTS + 1)
    assert [one.sequence for one in read_all(again)] == [36, 37, 38, 39, 41]
    again.close()


def test_what_was_never_acknowledged_is_not_copied_into_a_fresh_file(path: Path) -> None:
    fill(path)
    spool = spool_at(path)
    spool.start()
    connection = sqlite3.connect(path)  # as a commit leaves it whose sync failed
    connection.execute(
        "INSERT INTO requests SELECT 41, received_unix_nano, 0, 0, entries, digest, signal, data "
        "FROM requests WHERE sequence = 40"
    )
    connection.commit()
    connection.close()
    assert [one.sequence for one in read_all(spool)] == list(range(11, REQUESTS + 1))
    damage_data(path, 20)
    read_all(spool)
    assert spool.state.damaged_files == 1
    spool.append(group([REQUESTS + 1]))
    assert read_all(spool)[-1] == entry(REQUESTS + 1)
    spool.close()


def test_damage_that_an_append_meets_is_a_retryable_refusal(path: Path) -> None:
    fill(path)
    spool = spool_at(path)
    spool.start()
    connection = sqlite3.connect(path)  # as if pages of the tables were gone
    (root,) = connection.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'requests'"
    ).fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    overwrite(path, (root - 1) * PAGE, bytes(PAGE))
    connection = sqlite3.connect(path)  # a change by somebody else, so that pages are read again
    connection.execute("INSERT INTO digests VALUES (1000, 1, x'00')")
    connection.commit()
    connection.close()
    with pytest.raises(SpoolUnavailableError, match="send again"):
        spool.append(group([REQUESTS + 1]))
    assert spool.state.damaged_files == 1
    spool.append(group([REQUESTS + 1]))
    assert read_all(spool)[-1] == entry(REQUESTS + 1)
    check_usable(spool)
    spool.close()


def test_each_damaged_file_gets_a_name_of_its_own(path: Path) -> None:
    for number in (1, 2, 3):
        fill(path)
        overwrite(path, 0, bytes(100))
        spool = spool_at(path)
        spool.start()
        spool.close()
        assert aside(path) == [f"spool.db.corrupt-{one}" for one in range(1, number + 1)]


def test_missing_tables_are_damage(path: Path) -> None:
    fill(path)
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE digests")
    connection.close()
    spool = spool_at(path)
    spool.start()
    assert spool.state.damaged_files == 1
    assert [one.sequence for one in read_all(spool)] == list(range(11, REQUESTS + 1))
    check_usable(spool)
    spool.close()


def test_a_file_that_cannot_be_read_is_refused_and_not_set_aside(path: Path) -> None:
    fill(path)
    path.with_name("spool.db-wal").mkdir()
    with pytest.raises(SpoolRefusedError, match=r"spool\.db-wal is not a file"):
        spool_at(path).start()
    assert aside(path) == []
