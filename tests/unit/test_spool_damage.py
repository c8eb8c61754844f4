"""A damaged file is renamed, and only the requests that the damage hit are lost."""

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kit.spool.samples import (
    START_UNIX_NANO,
    entry,
    execute,
    group,
    is_known,
    open_spool,
    read_all,
    read_sequences,
    spool_at,
)

from exporter.spool import Spool, SpoolRefusedError, SpoolUnavailableError
from exporter.spool.database import SpoolDatabase
from exporter.spool.errors import SpoolDamagedError
from exporter.spool.spool_file import SpoolFile
from exporter.spool.state import SpoolState

PAGE_BYTES = 8192
REQUESTS = 40
RELEASED = 10
SIZE_BYTES = 9_000
PENDING = {sequence: entry(sequence, SIZE_BYTES) for sequence in range(RELEASED + 1, REQUESTS + 1)}


def fill(path: Path) -> str:
    """A closed spool with 40 requests, of which 10 are released; its receiver id."""
    with open_spool(path) as spool:
        spool.append(group(range(1, REQUESTS + 1), SIZE_BYTES))
        spool.release(RELEASED)
        spool.compact(START_UNIX_NANO)
        return spool.state.receiver_id


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def damage_data(path: Path, sequence: int) -> None:
    """Change a byte of a request's data, as a disk may; SQLite cannot see it."""
    execute(
        path,
        "UPDATE requests SET data = CAST(substr(data, 1, 4000) || x'00' || substr(data, 4002) "
        "AS BLOB) WHERE sequence = ?",
        sequence,
    )


def damaged_files(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.glob(f"{path.name}.corrupt-*"))


def check_usable(spool: Spool) -> None:
    """Every count is true, and requests are taken, read and released."""
    found = read_all(spool)
    assert spool.state.pending_requests == len(found)
    assert spool.state.pending_entries == sum(one.entries for one in found)
    first = spool.state.last_sequence + 1
    spool.append(group([first, first + 1]))
    assert read_all(spool) == [*found, entry(first), entry(first + 1)]
    spool.release(first)
    spool.compact(START_UNIX_NANO)
    assert spool.state.pending_requests == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: overwrite(path, 0, bytes(100)),
        lambda path: path.write_text("not a database\n" * 1_000),
        lambda path: path.write_bytes(b"x"),
        lambda path: overwrite(path, 0, Random(1).randbytes(PAGE_BYTES)),
    ],
    ids=["zeroed header", "another format", "one byte", "first page overwritten"],
)
def test_a_file_without_a_header_is_renamed(
    path: Path, damage: Callable[[Path], object], caplog: pytest.LogCaptureFixture
) -> None:
    receiver_id = fill(path)
    damage(path)
    damaged = path.read_bytes()
    with open_spool(path) as spool:
        assert spool.state.damaged_files == 1
        assert spool.state.receiver_id != receiver_id
        assert read_all(spool) == []
        assert damaged_files(path) == ["file.db.corrupt-1"]
        assert path.with_name("file.db.corrupt-1").read_bytes() == damaged
        check_usable(spool)
    assert "a new one is created" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize(
    "content",
    [bytes(PAGE_BYTES), Random(1).randbytes(PAGE_BYTES), bytes(PAGE_BYTES // 2)],
    ids=["zeros", "noise", "half"],
)
def test_any_damaged_page_costs_few_requests(tmp_path: Path, content: bytes) -> None:
    original = tmp_path / "original.db"
    receiver_id = fill(original)
    pages = original.stat().st_size // PAGE_BYTES
    assert pages > REQUESTS
    lost = []
    for page in range(1, pages):  # all but the header
        path = tmp_path / f"{page}.db"
        shutil.copy(original, path)
        overwrite(path, page * PAGE_BYTES, content)
        with open_spool(path) as spool:
            found = read_all(spool)
            assert all(PENDING[one.sequence] == one for one in found)
            if spool.state.receiver_id == receiver_id:
                lost.append(len(PENDING) - len(found))
            check_usable(spool)
    *others, root = sorted(lost)
    assert len(others) > pages - 5  # all but those of the name and of the list of tables
    assert root <= len(PENDING)  # without the root page of the table no request can be found
    assert others[-1] <= 12  # a page with the beginnings of a dozen requests
    assert others[len(others) // 2] == 1  # most pages belong to one request


@given(seed=st.integers(0, 2**32), flips=st.integers(1, 20))
def test_flipped_bits_are_never_returned_as_data(seed: int, flips: int) -> None:
    random = Random(seed)
    with TemporaryDirectory() as folder:
        path = Path(folder, "file.db")
        fill(path)
        content = bytearray(path.read_bytes())
        for _ in range(flips):
            content[random.randrange(100, len(content))] ^= 1 << random.randrange(8)
        path.write_bytes(content)
        originals = {entry(sequence, SIZE_BYTES).data for sequence in range(1, REQUESTS + 1)}
        with open_spool(path) as spool:
            assert {one.data for one in read_all(spool)} <= originals


@pytest.mark.parametrize("keep", [1, PAGE_BYTES - 1, PAGE_BYTES, 5 * PAGE_BYTES, 163_857])
def test_a_truncated_file_is_recovered(path: Path, keep: int) -> None:
    fill(path)
    with path.open("r+b") as file:
        file.truncate(keep)
    with open_spool(path) as spool:
        assert spool.state.damaged_files == 1
        assert all(PENDING[one.sequence] == one for one in read_all(spool))
        check_usable(spool)


@pytest.fixture
def crashed(path: Path) -> Path:
    """A spool as a crash leaves it: 20 requests in the file, and 10 in the -wal only."""
    copy = path.with_name("crashed.db")
    with open_spool(path) as spool:
        spool.append(group(range(1, 21), SIZE_BYTES))
        spool.compact(START_UNIX_NANO)
        spool.append(group(range(21, 31), SIZE_BYTES))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
    return copy


def test_an_invalid_wal_is_renamed_and_the_file_is_used(
    crashed: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wal = crashed.with_name("crashed.db-wal")
    wal.write_bytes(Random(1).randbytes(wal.stat().st_size))
    with open_spool(crashed) as spool:
        assert spool.state.damaged_files == 1
        assert read_all(spool) == [entry(sequence, SIZE_BYTES) for sequence in range(1, 21)]
        assert damaged_files(crashed) == ["crashed.db.corrupt-1-wal"]
        check_usable(spool)
    assert re.search("is not a WAL file and was moved to .*crashed.db.corrupt-1-wal", caplog.text)


def test_a_torn_end_of_the_wal_is_not_damage(crashed: Path) -> None:
    with crashed.with_name("crashed.db-wal").open("ab") as wal:
        wal.write(Random(1).randbytes(5_000))
    with open_spool(crashed) as spool:
        assert spool.state.damaged_files == 0
        assert read_all(spool) == [entry(sequence, SIZE_BYTES) for sequence in range(1, 31)]


def test_the_wal_is_renamed_with_its_file_and_recovered(crashed: Path) -> None:
    overwrite(crashed, 10 * PAGE_BYTES, bytes(PAGE_BYTES))
    with open_spool(crashed) as spool:
        found = read_all(spool)
        assert 25 <= len(found) < 30
        assert all(one == entry(one.sequence, SIZE_BYTES) for one in found)
        assert found[-1].sequence == 30  # which was in the -wal only
        check_usable(spool)


def test_damage_that_is_found_by_a_read_costs_that_request(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(path)
    with open_spool(path) as spool:
        damage_data(path, 20)
        assert read_sequences(spool) == [one for one in PENDING if one != 20]
        assert spool.state.damaged_files == 1
        assert spool.state.lost_entries == entry(20).entries
        assert "reading request 20: a compressed request is damaged" in caplog.text
        assert all(is_known(spool, *range(1, REQUESTS + 1)))
        check_usable(spool)


def test_a_running_spool_keeps_its_name_and_watermarks_when_its_file_is_replaced(
    path: Path,
) -> None:
    receiver_id = fill(path)
    with open_spool(path) as spool:
        spool.release(35)
        damage_data(path, REQUESTS)
        assert read_sequences(spool) == [36, 37, 38, 39]
        assert (spool.state.receiver_id, spool.state.last_sequence) == (receiver_id, REQUESTS)
        with pytest.raises(ValueError, match="comes after 40"):
            spool.append(group([REQUESTS]))
        spool.append(group([REQUESTS + 1]))
    with open_spool(path) as again:
        assert (again.state.receiver_id, again.state.last_sequence) == (receiver_id, REQUESTS + 1)
        assert read_sequences(again) == [36, 37, 38, 39, 41]


def test_a_request_that_was_not_acknowledged_is_not_copied(path: Path) -> None:
    fill(path)
    with open_spool(path) as spool:
        execute(  # as a commit leaves it whose sync failed
            path,
            "INSERT INTO requests SELECT 41, received_unix_nano, 0, 0, entries, digest, signal, "
            "data FROM requests WHERE sequence = 40",
        )
        assert read_sequences(spool) == list(PENDING)
        damage_data(path, 20)
        read_all(spool)
        assert spool.state.damaged_files == 1
        spool.append(group([REQUESTS + 1]))
        assert read_all(spool)[-1] == entry(REQUESTS + 1)


def test_an_append_that_finds_damage_is_refused_and_may_be_repeated(path: Path) -> None:
    fill(path)
    with open_spool(path) as spool:
        # As if pages of the tables were lost.
        root = execute(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'requests'")[0][0]
        execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")
        overwrite(path, (root - 1) * PAGE_BYTES, bytes(PAGE_BYTES))
        # A change by another program, so that pages are read again.
        execute(path, "INSERT INTO digests VALUES (1000, 1, x'00')")
        with pytest.raises(SpoolUnavailableError, match="send again"):
            spool.append(group([REQUESTS + 1]))
        assert spool.state.damaged_files == 1
        spool.append(group([REQUESTS + 1]))
        assert read_all(spool)[-1] == entry(REQUESTS + 1)
        check_usable(spool)


def test_each_damaged_file_is_renamed_to_the_next_free_number(path: Path) -> None:
    for number in (1, 2, 3):
        fill(path)
        overwrite(path, 0, bytes(100))
        with open_spool(path):
            pass
        assert damaged_files(path) == [f"file.db.corrupt-{one}" for one in range(1, number + 1)]


def test_missing_tables_are_damage(path: Path) -> None:
    fill(path)
    execute(path, "DROP TABLE digests")
    with open_spool(path) as spool:
        assert spool.state.damaged_files == 1
        assert read_sequences(spool) == list(PENDING)
        check_usable(spool)


def test_a_file_that_cannot_be_opened_is_refused_and_not_renamed(path: Path) -> None:
    fill(path)
    path.with_name("file.db-wal").mkdir()
    with pytest.raises(SpoolRefusedError, match=r"file\.db-wal is not a file"):
        spool_at(path).start()
    assert damaged_files(path) == []


def test_a_disk_that_damages_every_new_file_does_not_fill_up(path: Path) -> None:
    fill(path)
    file = SpoolFile(path, SpoolState(max_bytes=1 << 30, max_digests=1_000))
    file.open()

    def damaged(_: SpoolDatabase) -> None:
        raise SpoolDamagedError("damaged")

    with pytest.raises(SpoolUnavailableError, match="that replaced it is damaged as well"):
        file.run(file.writing, damaged)
    assert [name for name in damaged_files(path) if name[-1].isdigit()] == [
        "file.db.corrupt-1",
        "file.db.corrupt-2",
    ]
    file.close()
