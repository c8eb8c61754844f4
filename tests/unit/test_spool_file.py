"""The file of a spool: who may read it, which files are refused, and files of earlier formats."""

import os
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from kit.spool.samples import (
    START_UNIX_NANO,
    compressed,
    entry,
    group,
    open_spool,
    read_all,
    read_sequences,
    spool_at,
)

from exporter.spool import SpoolRefusedError, SpoolUnavailableError


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        spool = spool_at(path)
        spool.start()
        spool.append(group([1]))
    finally:
        os.umask(before)
    modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    assert modes == {f"file.db{suffix}": 0o600 for suffix in ("", "-wal", "-shm", ".lock")}
    spool.close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    spool = spool_at(tmp_path / "none" / "file.db")
    with pytest.raises(SpoolRefusedError, match="none does not exist or is not a folder; create"):
        spool.start()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SpoolRefusedError, match="this is a folder or device, not a file; name"):
        spool_at(folder).start()


def test_a_second_user_of_the_file_is_refused_even_through_a_link(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    with open_spool(path) as spool:
        for other in (spool_at(path), spool_at(link)):
            with pytest.raises(SpoolRefusedError, match="another process uses it"):
                other.start()
        spool.append(group([1]))


def test_a_database_of_another_program_is_not_changed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    with pytest.raises(SpoolRefusedError, match=r"belongs to another program .*tables: theirs"):
        spool_at(path).start()
    assert path.read_bytes() == before


def test_a_later_format_is_refused(path: Path) -> None:
    with open_spool(path) as spool:
        spool.append(group([1]))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 4")
    with pytest.raises(SpoolRefusedError, match="has format 4, and this version reads up to 3"):
        spool_at(path).start()
    assert [one.name for one in path.parent.glob("*corrupt*")] == []


def test_an_append_to_a_removed_file_is_refused(path: Path) -> None:
    with open_spool(path) as spool:
        spool.append(group([1]))
        path.rename(path.with_name("elsewhere"))
        with pytest.raises(SpoolUnavailableError, match="the file was removed while it was open"):
            spool.append(group([2]))
        path.with_name("elsewhere").rename(path)
        spool.append(group([2]))
        assert read_sequences(spool) == [1, 2]


def test_the_file_shrinks_after_a_large_release(path: Path) -> None:
    with open_spool(path) as spool:
        for first in range(1, 6_001, 200):
            spool.append(group(range(first, first + 200), size_bytes=8_000))
        spool.compact(START_UNIX_NANO)
        assert path.stat().st_size > 45_000_000
        spool.release(spool.state.last_sequence)
        for _ in range(4):
            spool.compact(START_UNIX_NANO)
        assert path.stat().st_size < 20_000_000


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
FORMAT_1_ENTRIES = [entry(3, 20_000), entry(4, 20_000)]


def make_format_1(path: Path) -> None:
    """A file of the first format, with four requests of which two are released."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA page_size = 8192")
        connection.executescript(FORMAT_1)
        for one in map(compressed, FORMAT_1_ENTRIES):
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


def test_a_file_of_the_first_format_is_upgraded_with_its_pending_requests(path: Path) -> None:
    make_format_1(path)
    logs = replace(entry(5, 100), signal="logs")
    with open_spool(path) as spool:
        assert (spool.state.receiver_id, spool.state.last_sequence) == ("the-first", 4)
        assert read_all(spool) == FORMAT_1_ENTRIES
        assert {one.signal for one in FORMAT_1_ENTRIES} == {"metrics"}
        spool.append([compressed(logs)])
        assert read_all(spool) == [*FORMAT_1_ENTRIES, logs]
    with open_spool(path) as again:
        assert read_all(again) == [*FORMAT_1_ENTRIES, logs]


def test_a_damaged_file_of_the_first_format_is_recovered(path: Path) -> None:
    make_format_1(path)
    content = path.read_bytes()
    at = content.index(FORMAT_1_ENTRIES[1].data[10_000:10_100])
    path.write_bytes(content[:at] + bytes(100) + content[at + 100 :])
    with open_spool(path) as spool:
        assert read_all(spool) == FORMAT_1_ENTRIES[:1]
        assert (spool.state.receiver_id, spool.state.damaged_files) == ("the-first", 1)
