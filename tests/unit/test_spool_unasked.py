"""Requests that were taken while the database's ledger could not be asked how far it has come."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from kit.spool.samples import digest_of, entry, group, read_all, spool_at

from exporter.spool import Spool

PAGE_BYTES = 8192


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    """Three requests of before, and two that were taken unasked."""
    spool = spool_at(path)
    spool.start()
    spool.append(group([1, 2, 3]))
    spool.mark_unverified()
    spool.append(group([4, 5]))
    yield spool
    spool.close()


def sequences(spool: Spool) -> list[int]:
    return [one.sequence for one in read_all(spool)]


def started_again(spool: Spool, path: Path) -> Spool:
    spool.close()
    again = spool_at(path)
    again.start()
    return again


def asked(path: Path, question: str) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def watermarks(path: Path) -> list[tuple[int, ...]]:
    return asked(path, "SELECT unasked_after, released_sequence FROM spool")


@pytest.mark.parametrize("watermark", [0, 1, 3])
def test_a_watermark_of_before_releases_what_it_says(spool: Spool, watermark: int) -> None:
    name = spool.state.receiver_id
    expected = sum(entry(sequence).entries for sequence in range(1, watermark + 1))
    assert spool.advance_to(watermark) == expected
    assert sequences(spool) == [*range(watermark + 1, 6)]
    assert spool.state.receiver_id == name


@pytest.mark.parametrize("watermark", [4, 5, 6, 1000])
@pytest.mark.parametrize("killed", [False, True], ids=["at once", "after a restart"])
def test_a_watermark_beyond_them_is_of_other_requests(
    spool: Spool, path: Path, watermark: int, *, killed: bool
) -> None:
    name = spool.state.receiver_id
    if killed:  # the next one does not get the database either
        spool = started_again(spool, path)
        spool.mark_unverified()
    spool.append(group([6]))
    assert spool.advance_to(watermark) == entry(1).entries + entry(2).entries + entry(3).entries
    assert sequences(spool) == [4, 5, 6]
    assert spool.state.last_sequence == 6
    renamed = spool.state.receiver_id
    assert renamed != name
    again = started_again(spool, path)
    assert (again.state.receiver_id, sequences(again)) == (renamed, [4, 5, 6])
    assert all(digest_of(sequence) in again.state.digests for sequence in range(1, 7))
    again.release(4)
    again.append(group([7]))
    assert again.advance_to(5) == entry(5).entries
    assert sequences(again) == [6, 7]
    again.close()


def test_once_the_ledger_was_asked_its_watermark_counts_for_all(spool: Spool, path: Path) -> None:
    name = spool.state.receiver_id
    spool.advance_to(2)
    again = started_again(spool, path)
    again.advance_to(5)
    assert (again.state.receiver_id, sequences(again)) == (name, [])
    again.close()


def test_a_damaged_file_is_replaced_by_one_that_knows_it_too(spool: Spool, path: Path) -> None:
    name = spool.state.receiver_id
    spool.close()
    content = path.read_bytes()
    data = group([5])[0].data
    middle = data[len(data) // 2 : len(data) // 2 + 10]
    path.write_bytes(content.replace(middle, bytes(len(middle))))
    again = spool_at(path)
    again.start()
    assert sequences(again) == [1, 2, 3, 4]
    assert (again.state.damaged_files, again.state.receiver_id) == (1, name)
    again.advance_to(4)
    assert sequences(again) == [4]
    assert again.state.receiver_id != name
    again.close()


def test_so_is_one_that_is_found_damaged_at_the_next_start(spool: Spool, path: Path) -> None:
    name = spool.state.receiver_id
    spool.close()
    rootpage = asked(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'digests'")[0][0]
    with path.open("r+b") as file:
        file.seek((rootpage - 1) * PAGE_BYTES)
        file.write(bytes(PAGE_BYTES))
    again = spool_at(path)
    again.start()
    assert (again.state.damaged_files, again.state.receiver_id) == (1, name)
    assert watermarks(path) == [(3, 0)]
    again.close()


def test_it_is_on_disk_when_the_first_request_is(spool: Spool, path: Path) -> None:
    assert watermarks(path) == [(3, 0)]
    assert spool.state.last_sequence == 5
