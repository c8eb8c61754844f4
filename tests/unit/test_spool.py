"""The spool on a real file: each request comes back once, in order, also after a restart."""

import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from kit.spool.samples import (
    RETRY_WINDOW_NANO,
    START_UNIX_NANO,
    compressed,
    entry,
    execute,
    group,
    is_known,
    open_spool,
    read_all,
    read_sequences,
    spool_at,
)

from exporter.spool import Spool, SpoolFullError, SpoolUnavailableError, compress, decompress
from exporter.time_units import NANOSECONDS_PER_SECOND

LONG_AFTER = START_UNIX_NANO + 100 * RETRY_WINDOW_NANO


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    with open_spool(path) as opened:
        yield opened


def test_a_new_spool_is_empty(spool: Spool) -> None:
    state = spool.state
    assert (state.last_sequence, state.pending_requests, state.pending_entries) == (0, 0, 0)
    assert (state.pending_bytes, state.oldest_received_unix_nano, state.is_full) == (0, None, False)
    assert (state.damaged_files, state.lost_entries) == (0, 0)
    assert spool.read(0, 1) == []
    assert len(state.receiver_id) == 36


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 200])
def test_a_group_is_read_back_as_it_was_appended(spool: Spool, size: int) -> None:
    spool.append(group(range(1, size + 1)))
    expected = [entry(sequence) for sequence in range(1, size + 1)]
    assert read_all(spool) == expected
    state = spool.state
    assert state.last_sequence == size
    assert state.pending_requests == size
    assert state.pending_entries == sum(one.entries for one in expected)
    assert state.oldest_received_unix_nano == START_UNIX_NANO + NANOSECONDS_PER_SECOND


def test_pending_bytes_are_the_compressed_data_and_128_bytes_each(spool: Spool) -> None:
    entries = group([1, 2])
    spool.append(entries)
    assert spool.state.pending_bytes == sum(len(one.data) for one in entries) + 2 * 128


def test_sequences_may_have_gaps_and_a_group_may_be_empty(spool: Spool) -> None:
    spool.append([])
    spool.append(group([5, 9, 1000]))
    assert read_sequences(spool) == [5, 9, 1000]
    assert [one.sequence for one in spool.read(9, 10)] == [1000]


@pytest.mark.parametrize("sequences", [[3], [2], [4, 4], [5, 4]])
def test_a_sequence_that_does_not_increase_is_an_error(spool: Spool, sequences: list[int]) -> None:
    spool.append(group([3]))
    with pytest.raises(ValueError, match="comes after"):
        spool.append(group(sequences))
    assert read_sequences(spool) == [3]


def test_data_that_are_not_compressed_are_an_error(spool: Spool) -> None:
    with pytest.raises(ValueError, match="sequence 1 does not come from compress"):
        spool.append([entry(1, 100)])


def test_a_read_is_bounded_by_bytes_and_returns_at_least_one(spool: Spool) -> None:
    spool.append(group(range(1, 11), size_bytes=1_000))
    assert [one.sequence for one in spool.read(0, 1)] == [1]
    assert [one.sequence for one in spool.read(0, 1_999)] == [1]
    assert [one.sequence for one in spool.read(0, 2_000)] == [1, 2]
    assert [one.sequence for one in spool.read(2, 3_500)] == [3, 4, 5]
    assert spool.read(10, 1_000) == []


def test_release_counts_at_once_and_deletes_rows_with_the_next_append(
    spool: Spool, path: Path
) -> None:
    spool.append(group(range(1, 11)))
    spool.release(7)
    assert spool.state.pending_requests == 3
    assert spool.state.pending_entries == sum(entry(sequence).entries for sequence in (8, 9, 10))
    assert spool.state.oldest_received_unix_nano == entry(8).received_unix_nano
    assert read_sequences(spool) == [8, 9, 10]
    assert execute(path, "SELECT count(*) FROM requests") == [(10,)]
    spool.append(group([11]))
    assert execute(path, "SELECT count(*), min(sequence) FROM requests") == [(4, 8)]
    assert execute(path, "SELECT count(*), max(sequence) FROM digests") == [(7, 7)]


def test_compact_deletes_released_rows(spool: Spool, path: Path) -> None:
    spool.append(group(range(1, 2_501), size_bytes=1))
    spool.release(2_500)
    spool.compact(START_UNIX_NANO)
    assert execute(path, "SELECT count(*) FROM requests") == [(0,)]
    assert spool.state.pending_bytes == 0


def test_release_of_an_earlier_sequence_changes_nothing(spool: Spool) -> None:
    spool.append(group([1, 2, 3]))
    spool.release(2)
    spool.release(1)
    assert read_sequences(spool) == [3]
    assert spool.state.pending_requests == 1


def test_release_beyond_the_last_sequence_is_an_error(spool: Spool) -> None:
    spool.append(group([1]))
    with pytest.raises(ValueError, match="release of 2, and the last is 1"):
        spool.release(2)


def test_a_ledger_that_is_ahead_advances_the_sequence(spool: Spool, path: Path) -> None:
    spool.append(group([1, 2]))
    spool.advance_to(100)
    assert (spool.state.last_sequence, spool.state.pending_requests) == (100, 0)
    with pytest.raises(ValueError, match="comes after 100"):
        spool.append(group([100]))
    spool.append(group([101]))
    spool.close()
    with open_spool(path) as again:
        again.advance_to(50)
        assert (again.state.last_sequence, read_sequences(again)) == (101, [101])


def test_everything_is_there_after_a_restart(spool: Spool, path: Path) -> None:
    spool.append(group(range(1, 11)))
    spool.release(4)
    spool.append(group([11]))
    spool.close()
    with open_spool(path) as again:
        assert read_all(again) == [entry(sequence) for sequence in range(5, 12)]
        for name in (
            "receiver_id",
            "last_sequence",
            "pending_requests",
            "pending_entries",
            "pending_bytes",
            "oldest_received_unix_nano",
        ):
            assert getattr(again.state, name) == getattr(spool.state, name), name
        assert all(is_known(again, *range(1, 12)))


def test_a_release_that_was_not_written_is_pending_again_after_a_restart(
    spool: Spool, path: Path
) -> None:
    spool.append(group([1, 2, 3]))
    spool.release(2)
    spool.close()
    with open_spool(path) as again:
        assert read_sequences(again) == [1, 2, 3]


def test_the_last_sequence_is_kept_without_rows_and_digests(spool: Spool, path: Path) -> None:
    spool.append(group([1, 2, 3]))
    spool.release(3)
    spool.compact(LONG_AFTER)
    assert execute(path, "SELECT count(*) FROM digests") == [(0,)]
    spool.close()
    with open_spool(path) as again:
        assert again.state.last_sequence == 3


def test_each_new_file_has_a_receiver_id_of_its_own(tmp_path: Path) -> None:
    receiver_ids = set()
    for number in range(3):
        with open_spool(tmp_path / f"{number}.db") as spool:
            receiver_ids.add(spool.state.receiver_id)
    assert len(receiver_ids) == 3


def test_digests_are_kept_until_the_retry_window_ends(spool: Spool) -> None:
    spool.append(group([1, 2, 3]))
    assert is_known(spool, 1, 4) == [True, False]
    spool.release(2)
    spool.compact(entry(1).received_unix_nano + RETRY_WINDOW_NANO)
    assert is_known(spool, 1, 2, 3) == [True, True, True]
    spool.compact(entry(2).received_unix_nano + RETRY_WINDOW_NANO)
    assert is_known(spool, 1, 2, 3) == [False, True, True]
    spool.compact(LONG_AFTER)
    assert is_known(spool, 1, 2, 3) == [False, False, True]


def test_expired_digests_are_unknown_after_a_restart(spool: Spool, path: Path) -> None:
    spool.append(group([1, 2]))
    spool.release(1)
    spool.compact(LONG_AFTER)
    spool.close()
    with open_spool(path) as again:
        assert is_known(again, 1, 2) == [False, True]


def test_a_digest_that_was_added_twice_is_known_until_the_second_expires(spool: Spool) -> None:
    first, second = group([1, 2])
    spool.append([first, replace(second, digest=first.digest)])
    spool.release(2)
    spool.compact(entry(2).received_unix_nano + RETRY_WINDOW_NANO)
    assert first.digest in spool.state.digests
    spool.compact(entry(3).received_unix_nano + RETRY_WINDOW_NANO)
    assert first.digest not in spool.state.digests


def test_digests_are_bounded_in_number_on_disk_too(path: Path) -> None:
    with open_spool(path, max_digests=5) as spool:
        spool.append(group(range(1, 11), size_bytes=1))
        assert is_known(spool, 5, 6, 10) == [False, True, True]
        spool.release(10)
        spool.compact(START_UNIX_NANO)
        assert execute(path, "SELECT min(sequence), count(*) FROM digests") == [(6, 5)]
        assert read_sequences(spool) == []


def test_a_full_spool_refuses_until_some_is_released(path: Path) -> None:
    with open_spool(path, max_bytes=10_000) as spool:
        spool.append(group([1, 2], size_bytes=8_000))  # taken whole, and beyond the bound
        assert spool.state.is_full
        with pytest.raises(SpoolFullError, match="of 10000 are pending; send again") as refusal:
            spool.append(group([3]))
        assert refusal.value.retryable
        spool.release(1)
        assert not spool.state.is_full
        spool.append(group([3]))
        assert read_sequences(spool) == [2, 3]


def test_start_and_close_are_safe_twice(path: Path) -> None:
    spool = spool_at(path)
    spool.close()
    spool.start()
    spool.start()
    spool.append(group([1]))
    spool.close()
    spool.close()
    spool.start()
    assert read_sequences(spool) == [1]
    spool.close()


def test_a_closed_spool_refuses_to_work(path: Path) -> None:
    spool = spool_at(path)
    for call in (
        lambda: spool.append(group([1])),
        lambda: spool.read(0, 1),
        lambda: spool.compact(0),
        spool.measure_sync_seconds,
    ):
        with pytest.raises(SpoolUnavailableError, match="it is not open; start it"):
            call()


def test_reading_releasing_and_compacting_run_during_appends(spool: Spool) -> None:
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

    def compact() -> None:
        while not done.is_set():
            spool.compact(START_UNIX_NANO)

    with ThreadPoolExecutor(2) as threads:
        reading, compacting = threads.submit(read_and_release), threads.submit(compact)
        try:
            for first in range(1, total + 1, 10):
                spool.append(group(range(first, first + 10)))
        finally:
            done.set()
        assert reading.result() == list(range(1, total + 1))
        compacting.result()
    assert spool.state.pending_requests == 0


def test_compressed_bytes_are_decompressed_on_any_thread() -> None:
    samples = [os.urandom(1_000) * number for number in range(50)]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(decompress, threads.map(compress, samples))) == samples


def one_bit_flipped() -> bytes:
    frame = bytearray(compress(os.urandom(10_000)))
    frame[5_000] ^= 1
    return bytes(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"junk",
        compress(b"x" * 1_000)[:-1],
        compress(b"x" * 1_000)[:10],
        one_bit_flipped(),
    ],
    ids=["empty", "junk", "one byte short", "header only", "one bit flipped"],
)
def test_a_damaged_frame_is_an_error(frame: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        decompress(frame)


def test_a_frame_of_too_large_a_size_is_refused_before_memory_is_allocated() -> None:
    with pytest.raises(ValueError, match="says it has 1000 bytes, more than 999"):
        decompress(compress(b"x" * 1_000), max_bytes=999)


def test_normal_use_logs_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with open_spool(path) as spool:
        spool.append(group([1]))
        spool.compact(START_UNIX_NANO)
    assert caplog.records == []


def test_the_signal_of_a_request_is_kept(spool: Spool) -> None:
    logs = replace(entry(1, 100), signal="logs")
    spool.append([compressed(logs)])
    assert read_all(spool) == [logs]


def test_measuring_a_sync_changes_nothing(spool: Spool) -> None:
    spool.append(group([1, 2]))
    assert 0 < spool.measure_sync_seconds() < 60
    assert read_sequences(spool) == [1, 2]
