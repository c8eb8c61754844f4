"""The spool on a real file: what goes in comes out, once, in order, also after a restart."""

import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from kit.spool.samples import SECOND, START, digest_of, entry, group, read_all, spool_at

from exporter.spool import (
    Spool,
    SpoolFullError,
    SpoolRefusedError,
    SpoolUnavailableError,
    compress,
    decompress,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    found = spool_at(path)
    found.start()
    yield found
    found.close()


def sequences(spool: Spool) -> list[int]:
    return [one.sequence for one in read_all(spool)]


def in_file(path: Path, statement: str) -> list[tuple[int, ...]]:
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    found = connection.execute(statement).fetchall()
    connection.close()
    return found


def test_a_new_spool_is_empty(spool: Spool) -> None:
    assert (
        spool.state.last_sequence,
        spool.state.pending_requests,
        spool.state.pending_entries,
    ) == (0, 0, 0)
    assert (
        spool.state.pending_bytes,
        spool.state.oldest_received_unix_nano,
        spool.state.is_full,
    ) == (0, None, False)
    assert (spool.state.damaged_files, spool.state.lost_entries) == (0, 0)
    assert spool.read(0, 1) == []
    assert len(spool.state.receiver_id) == 36


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 200])
def test_a_group_comes_back_as_it_went_in(spool: Spool, size: int) -> None:
    spool.append(group(range(1, size + 1)))
    assert read_all(spool) == [entry(sequence) for sequence in range(1, size + 1)]
    assert spool.state.last_sequence == size
    assert spool.state.pending_requests == size
    assert spool.state.pending_entries == sum(
        entry(sequence).entries for sequence in range(1, size + 1)
    )
    assert spool.state.oldest_received_unix_nano == START + SECOND


def test_waiting_bytes_are_compressed_data_and_a_row_each(spool: Spool) -> None:
    entries = group([1, 2])
    spool.append(entries)
    assert spool.state.pending_bytes == sum(len(one.data) for one in entries) + 2 * 128


def test_sequences_may_have_gaps_and_an_empty_group_is_none(spool: Spool) -> None:
    spool.append([])
    spool.append(group([5, 9, 1000]))
    assert sequences(spool) == [5, 9, 1000]
    assert [one.sequence for one in spool.read(9, 10)] == [1000]


@pytest.mark.parametrize("numbers", [[3], [2], [4, 4], [5, 4]])
def test_a_sequence_that_does_not_rise_is_a_mistake(spool: Spool, numbers: list[int]) -> None:
    spool.append(group([3]))
    with pytest.raises(ValueError, match="comes after"):
        spool.append(group(numbers))
    assert sequences(spool) == [3]


def test_data_that_are_not_compressed_are_a_mistake(spool: Spool) -> None:
    with pytest.raises(ValueError, match="sequence 1 does not come from compress"):
        spool.append([entry(1, 100)])


def test_reading_is_bounded_by_bytes_and_gives_one_at_least(spool: Spool) -> None:
    spool.append(group(range(1, 11), size_bytes=1_000))
    assert [one.sequence for one in spool.read(0, 1)] == [1]
    assert [one.sequence for one in spool.read(0, 1_999)] == [1]
    assert [one.sequence for one in spool.read(0, 2_000)] == [1, 2]
    assert [one.sequence for one in spool.read(2, 3_500)] == [3, 4, 5]
    assert spool.read(10, 1_000) == []


def test_release_counts_at_once_and_empties_the_file_with_the_next_append(
    spool: Spool, path: Path
) -> None:
    spool.append(group(range(1, 11)))
    spool.release(7)
    assert spool.state.pending_requests == 3
    assert spool.state.pending_entries == sum(entry(sequence).entries for sequence in (8, 9, 10))
    assert spool.state.oldest_received_unix_nano == entry(8).received_unix_nano
    assert sequences(spool) == [8, 9, 10]
    assert in_file(path, "SELECT count(*) FROM requests") == [(10,)]
    spool.append(group([11]))
    assert in_file(path, "SELECT count(*), min(sequence) FROM requests") == [(4, 8)]
    assert in_file(path, "SELECT count(*), max(sequence) FROM digests") == [(7, 7)]


def test_release_empties_the_file_with_tidy(spool: Spool, path: Path) -> None:
    spool.append(group(range(1, 2_501), size_bytes=1))
    spool.release(2_500)
    spool.compact(START)
    assert in_file(path, "SELECT count(*) FROM requests") == [(0,)]
    assert spool.state.pending_bytes == 0


def test_release_of_less_changes_nothing(spool: Spool) -> None:
    spool.append(group([1, 2, 3]))
    spool.release(2)
    spool.release(1)
    assert sequences(spool) == [3]
    assert spool.state.pending_requests == 1


def test_release_beyond_the_last_is_a_mistake(spool: Spool) -> None:
    spool.append(group([1]))
    with pytest.raises(ValueError, match="release of 2, and the last is 1"):
        spool.release(2)


def test_a_ledger_that_is_ahead_moves_the_queue(spool: Spool, path: Path) -> None:
    spool.append(group([1, 2]))
    spool.advance_to(100)
    assert (spool.state.last_sequence, spool.state.pending_requests) == (100, 0)
    with pytest.raises(ValueError, match="comes after 100"):
        spool.append(group([100]))
    spool.append(group([101]))
    spool.close()
    again = spool_at(path)
    again.start()
    again.advance_to(50)
    assert (again.state.last_sequence, sequences(again)) == (101, [101])
    again.close()


def test_all_is_there_after_a_restart(spool: Spool, path: Path) -> None:
    spool.append(group(range(1, 11)))
    spool.release(4)
    spool.append(group([11]))
    spool.close()
    again = spool_at(path)
    again.start()
    assert again.state.receiver_id == spool.state.receiver_id
    assert again.state.last_sequence == 11
    assert read_all(again) == [entry(sequence) for sequence in range(5, 12)]
    for name in ("pending_requests", "pending_entries", "pending_bytes"):
        assert getattr(again.state, name) == getattr(spool.state, name)
    assert again.state.oldest_received_unix_nano == entry(5).received_unix_nano
    assert all(digest_of(sequence) in again.state.digests for sequence in range(1, 12))
    again.close()


def test_a_release_that_reached_no_disk_waits_again_after_a_restart(
    spool: Spool, path: Path
) -> None:
    spool.append(group([1, 2, 3]))
    spool.release(2)
    spool.close()
    again = spool_at(path)
    again.start()
    assert sequences(again) == [1, 2, 3]
    again.close()


def test_the_last_sequence_outlives_all_rows_and_digests(spool: Spool, path: Path) -> None:
    spool.append(group([1, 2, 3]))
    spool.release(3)
    spool.compact(START + 10_000 * SECOND)
    assert in_file(path, "SELECT count(*) FROM digests") == [(0,)]
    spool.close()
    again = spool_at(path)
    again.start()
    assert again.state.last_sequence == 3
    again.close()


def test_each_new_file_has_its_own_name(tmp_path: Path) -> None:
    names = set()
    for number in range(3):
        spool = spool_at(tmp_path / f"{number}.db")
        spool.start()
        names.add(spool.state.receiver_id)
        spool.close()
    assert len(names) == 3


def test_digests_stay_until_the_window_is_over(spool: Spool) -> None:
    spool.append(group([1, 2, 3]))
    assert digest_of(1) in spool.state.digests
    assert digest_of(4) not in spool.state.digests
    spool.release(2)
    spool.compact(entry(1).received_unix_nano + 100 * SECOND)  # the window is 100 s
    assert [digest_of(number) in spool.state.digests for number in (1, 2, 3)] == [True, True, True]
    spool.compact(entry(2).received_unix_nano + 100 * SECOND)
    assert [digest_of(number) in spool.state.digests for number in (1, 2, 3)] == [False, True, True]
    spool.compact(entry(3).received_unix_nano + 10_000 * SECOND)
    assert [digest_of(number) in spool.state.digests for number in (1, 2, 3)] == [
        False,
        False,
        True,
    ]


def test_forgotten_digests_stay_forgotten_after_a_restart(spool: Spool, path: Path) -> None:
    spool.append(group([1, 2]))
    spool.release(1)
    spool.compact(START + 10_000 * SECOND)
    spool.close()
    again = spool_at(path)
    again.start()
    assert [digest_of(number) in again.state.digests for number in (1, 2)] == [False, True]
    again.close()


def test_a_digest_that_comes_twice_is_known_until_the_second_goes(spool: Spool) -> None:
    first, second = group([1, 2])
    spool.append([first, replace(second, digest=first.digest)])
    spool.release(2)
    spool.compact(entry(2).received_unix_nano + 100 * SECOND)
    assert first.digest in spool.state.digests
    spool.compact(entry(3).received_unix_nano + 100 * SECOND)
    assert first.digest not in spool.state.digests


def test_digests_are_bounded_in_number_on_disk_too(path: Path) -> None:
    spool = spool_at(path, max_digests=5)
    spool.start()
    spool.append(group(range(1, 11), size_bytes=1))
    assert [digest_of(number) in spool.state.digests for number in (5, 6, 10)] == [
        False,
        True,
        True,
    ]
    spool.release(10)
    spool.compact(START)
    assert in_file(path, "SELECT min(sequence), count(*) FROM digests") == [(6, 5)]
    assert sequences(spool) == []
    spool.close()


def test_a_full_spool_refuses_until_some_is_released(path: Path) -> None:
    spool = spool_at(path, max_bytes=10_000)
    spool.start()
    spool.append(group([1, 2], size_bytes=8_000))  # taken whole, and beyond the bound
    assert spool.state.is_full
    with pytest.raises(SpoolFullError, match=r"bytes of 10000 are pending; send again") as refusal:
        spool.append(group([3]))
    assert refusal.value.retryable
    spool.release(1)
    assert not spool.state.is_full
    spool.append(group([3]))
    assert sequences(spool) == [2, 3]
    spool.close()


def test_files_are_private_whatever_the_umask(tmp_path: Path) -> None:
    for umask in (0o000, 0o022, 0o777):
        path = tmp_path / f"{umask}.db"
        before = os.umask(umask)
        try:
            spool = spool_at(path)
            spool.start()
            spool.append(group([1]))
        finally:
            os.umask(before)
        found = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.glob(f"{umask}.*")}
        suffixes = ("", "-wal", "-shm", ".lock")
        assert found == {f"{umask}.db{suffix}": 0o600 for suffix in suffixes}
        spool.close()


def test_start_and_close_are_safe_twice(path: Path) -> None:
    spool = spool_at(path)
    spool.close()
    spool.start()
    spool.start()
    spool.append(group([1]))
    spool.close()
    spool.close()
    spool.start()
    assert sequences(spool) == [1]
    spool.close()


def test_a_closed_spool_refuses_to_work(path: Path) -> None:
    spool = spool_at(path)
    for call in (
        lambda: spool.append(group([1])),
        lambda: spool.read(0, 1),
        lambda: spool.compact(0),
    ):
        with pytest.raises(SpoolUnavailableError, match="it is not open; start it"):
            call()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    spool = spool_at(tmp_path / "none" / "spool.db")
    with pytest.raises(SpoolRefusedError, match="none does not exist or is not a folder; create"):
        spool.start()


def test_a_folder_is_no_spool(tmp_path: Path) -> None:
    with pytest.raises(
        SpoolRefusedError, match="this is a folder or device, not a file; name a file"
    ):
        spool_at(tmp_path).start()


def test_a_second_user_of_the_same_file_is_refused_even_through_a_link(
    spool: Spool, path: Path
) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    for other in (spool_at(path), spool_at(link)):
        with pytest.raises(SpoolRefusedError, match="another process uses it"):
            other.start()
    spool.append(group([1]))


def test_another_programs_database_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(SpoolRefusedError, match="belongs to another program"):
        spool_at(path).start()
    assert path.read_bytes() == before


def test_a_later_format_is_left_alone(spool: Spool, path: Path) -> None:
    spool.append(group([1]))
    spool.close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 4")
    connection.close()
    with pytest.raises(SpoolRefusedError, match="has format 4, and this version reads up to 3"):
        spool_at(path).start()
    assert [one.name for one in path.parent.glob("*corrupt*")] == []


def test_a_file_that_vanishes_is_noticed_before_anything_is_acknowledged(
    spool: Spool, path: Path
) -> None:
    spool.append(group([1]))
    path.rename(path.with_name("elsewhere"))
    with pytest.raises(SpoolUnavailableError, match="the file was removed while it was open"):
        spool.append(group([2]))
    path.with_name("elsewhere").rename(path)
    spool.append(group([2]))
    assert sequences(spool) == [1, 2]


def test_the_file_shrinks_when_much_has_been_released(spool: Spool, path: Path) -> None:
    for first in range(1, 6_001, 200):
        spool.append(group(range(first, first + 200), size_bytes=8_000))
    spool.compact(START)
    assert path.stat().st_size > 45_000_000
    spool.release(spool.state.last_sequence)
    for _ in range(4):
        spool.compact(START)
    assert path.stat().st_size < 20_000_000


def test_reading_releasing_and_tidying_run_beside_appending(spool: Spool) -> None:
    total, done = 1_500, threading.Event()

    def read_and_release() -> list[int]:
        found: list[int] = []
        while not (done.is_set() and len(found) >= total):
            for one in spool.read(found[-1] if found else 0, 50_000):
                assert one == entry(one.sequence)
                found.append(one.sequence)
            if found:
                spool.release(found[-1])
        return found

    def tidy() -> None:
        while not done.is_set():
            spool.compact(START)

    with ThreadPoolExecutor(2) as threads:
        reading, tidying = threads.submit(read_and_release), threads.submit(tidy)
        try:
            for first in range(1, total + 1, 10):
                spool.append(group(range(first, first + 10)))
        finally:
            done.set()
        assert reading.result() == list(range(1, total + 1))
        tidying.result()
    assert spool.state.pending_requests == 0


def test_compressed_bytes_come_back_on_any_thread() -> None:
    samples = [os.urandom(1_000) * number for number in range(50)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(decompress, threads.map(compress, samples))) == samples


@pytest.mark.parametrize(
    "frame", [b"", b"junk", compress(b"x" * 1_000)[:-1], compress(b"x" * 1_000)[:10]]
)
def test_a_damaged_frame_is_told(frame: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decompress(frame)


def test_a_frame_with_one_bit_flipped_is_told() -> None:
    data = os.urandom(10_000)
    frame = bytearray(compress(data))
    frame[5_000] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        decompress(bytes(frame))


def test_a_frame_that_promises_too_much_takes_no_memory() -> None:
    with pytest.raises(ValueError, match="says it has 1000 bytes, more than 999"):
        decompress(compress(b"x" * 1_000), max_bytes=999)


def test_nothing_is_logged_when_all_is_well(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    spool = spool_at(path)
    spool.start()
    spool.append(group([1]))
    spool.compact(START)
    spool.close()
    assert caplog.records == []


FORMAT_1 = """
CREATE TABLE spool (receiver_id TEXT NOT NULL, released_sequence INTEGER NOT NULL);
CREATE TABLE requests (
    sequence INTEGER PRIMARY KEY,
    received_unix_nano INTEGER NOT NULL,
    earliest_unix_nano INTEGER NOT NULL,
    latest_unix_nano INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    digest BLOB NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE digests (
    sequence INTEGER PRIMARY KEY,
    received_unix_nano INTEGER NOT NULL,
    digest BLOB NOT NULL
);
INSERT INTO spool VALUES ('the-first', 2);
PRAGMA application_id = 1330008912;
PRAGMA user_version = 1;
"""


def make_format_1(path: Path) -> None:
    """A file as the first format was, with four requests of which two are released."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA page_size = 8192")
    connection.executescript(FORMAT_1)
    for one in group(range(3, 5), size_bytes=20_000):
        connection.execute(
            "INSERT INTO requests VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                one.sequence,
                one.received_unix_nano,
                one.earliest_unix_nano,
                one.latest_unix_nano,
                one.entries,
                one.digest,
                one.data,
            ),
        )
    connection.commit()
    connection.close()


def test_a_file_of_the_first_format_goes_on_with_what_waits(path: Path) -> None:
    make_format_1(path)
    expected = [entry(3, 20_000), entry(4, 20_000)]
    spool = spool_at(path)
    spool.start()
    assert (spool.state.receiver_id, spool.state.last_sequence) == ("the-first", 4)
    assert read_all(spool) == expected
    assert {one.signal for one in expected} == {"metrics"}
    logs = replace(entry(5, 100), signal="logs")
    spool.append([replace(logs, data=compress(logs.data))])
    assert read_all(spool) == [*expected, logs]
    spool.close()
    again = spool_at(path)
    again.start()
    assert read_all(again) == [*expected, logs]
    again.close()


def test_a_damaged_file_of_the_first_format_gives_what_can_be_read(path: Path) -> None:
    make_format_1(path)
    content = path.read_bytes()
    middle = entry(4, 20_000).data[10_000:10_100]
    at = content.index(middle)
    path.write_bytes(content[:at] + bytes(100) + content[at + 100 :])
    spool = spool_at(path)
    spool.start()
    assert read_all(spool) == [entry(3, 20_000)]
    assert (spool.state.receiver_id, spool.state.damaged_files) == ("the-first", 1)
    spool.close()


def test_the_signal_of_a_request_comes_back_with_it(spool: Spool) -> None:
    logs = replace(entry(1, 100), signal="logs")
    spool.append([replace(logs, data=compress(logs.data))])
    assert read_all(spool) == [logs]


def test_what_a_sync_takes_is_measured_and_changes_nothing(spool: Spool) -> None:
    spool.append(group([1, 2]))
    assert 0 < spool.measure_sync_seconds() < 60
    assert sequences(spool) == [1, 2]
    spool.close()
    with pytest.raises(SpoolUnavailableError):
        spool.measure_sync_seconds()
