"""Requests that were taken while the database's ledger could not be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kit.spool.samples import entry, execute, group, is_known, open_spool, read_sequences

from exporter.spool import Spool

PAGE_BYTES = 8192


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    """Three verified requests, and two unverified ones."""
    with open_spool(path) as opened:
        opened.append(group([1, 2, 3]))
        opened.mark_ledger_unreadable()
        opened.append(group([4, 5]))
        yield opened


def watermarks_in(path: Path) -> list[tuple[int, ...]]:
    return execute(path, "SELECT unasked_after, released_sequence FROM spool")


@pytest.mark.parametrize("watermark", [0, 1, 3])
def test_a_watermark_up_to_the_last_verified_request_releases_up_to_it(
    spool: Spool, watermark: int
) -> None:
    receiver_id = spool.state.receiver_id
    expected = sum(entry(sequence).entries for sequence in range(1, watermark + 1))
    assert spool.advance_to(watermark) == expected
    assert read_sequences(spool) == [*range(watermark + 1, 6)]
    assert spool.state.receiver_id == receiver_id


@pytest.mark.parametrize("watermark", [4, 5, 6, 1000])
@pytest.mark.parametrize("restart", [False, True], ids=["same run", "after a restart"])
def test_a_watermark_beyond_it_gives_unverified_requests_a_new_receiver_id(
    spool: Spool, path: Path, watermark: int, *, restart: bool
) -> None:
    receiver_id = spool.state.receiver_id
    if restart:  # the database is still away
        spool.close()
        spool.start()
        spool.mark_ledger_unreadable()
    spool.append(group([6]))
    assert spool.advance_to(watermark) == entry(1).entries + entry(2).entries + entry(3).entries
    assert read_sequences(spool) == [4, 5, 6]
    assert spool.state.last_sequence == 6
    new_receiver_id = spool.state.receiver_id
    assert new_receiver_id != receiver_id
    spool.close()
    with open_spool(path) as again:
        assert (again.state.receiver_id, read_sequences(again)) == (new_receiver_id, [4, 5, 6])
        assert all(is_known(again, *range(1, 7)))
        again.release(4)
        again.append(group([7]))
        assert again.advance_to(5) == entry(5).entries
        assert read_sequences(again) == [6, 7]


def test_once_the_ledger_was_read_its_watermark_counts_for_all(spool: Spool, path: Path) -> None:
    receiver_id = spool.state.receiver_id
    spool.advance_to(2)
    spool.close()
    with open_spool(path) as again:
        again.advance_to(5)
        assert (again.state.receiver_id, read_sequences(again)) == (receiver_id, [])


def test_a_file_that_replaces_a_damaged_one_keeps_the_note(spool: Spool, path: Path) -> None:
    receiver_id = spool.state.receiver_id
    spool.close()
    data = group([5])[0].data
    middle = data[len(data) // 2 : len(data) // 2 + 10]
    path.write_bytes(path.read_bytes().replace(middle, bytes(len(middle))))
    with open_spool(path) as again:
        assert read_sequences(again) == [1, 2, 3, 4]
        assert (again.state.damaged_files, again.state.receiver_id) == (1, receiver_id)
        again.advance_to(4)
        assert read_sequences(again) == [4]
        assert again.state.receiver_id != receiver_id


def test_a_file_that_is_found_damaged_at_start_keeps_the_note(spool: Spool, path: Path) -> None:
    receiver_id = spool.state.receiver_id
    spool.close()
    rootpage = execute(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'digests'")[0][0]
    with path.open("r+b") as file:
        file.seek((rootpage - 1) * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    with open_spool(path) as again:
        assert (again.state.damaged_files, again.state.receiver_id) == (1, receiver_id)
        assert watermarks_in(path) == [(3, 0)]


def test_the_note_is_on_disk_before_the_first_unverified_request(spool: Spool, path: Path) -> None:
    assert watermarks_in(path) == [(3, 0)]
    assert spool.state.last_sequence == 5
