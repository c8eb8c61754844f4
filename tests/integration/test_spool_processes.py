"""The spool under kill -9, on a full disk, and with a second process."""

import re
from pathlib import Path
from random import Random

import pytest
from kit.spool.programs import Program
from kit.spool.samples import digest_of, entry, read_all, spool_at

from exporter.spool import SpoolRefusedError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def test_what_was_appended_survives_kill_at_random_moments(path: Path) -> None:
    random = Random(7)
    appended, releasing, kills = 0, 0, 25
    receiver_ids = set()
    for seed in range(kills):
        with Program("work", path, seed) as program:
            assert program.line() == f"started {appended}"
            lines = [program.line() for _ in range(random.randrange(1, 60))]
            program.kill()
            lines += program.rest()
        said = [line.split() for line in lines]
        appended = max(int(number) for word, number in said if word == "appended")
        releasing = max([int(n) for word, n in said if word == "releasing"] + [releasing])
        spool = spool_at(path)
        spool.start()
        found = {one.sequence: one for one in read_all(spool)}
        assert found.keys() >= set(range(releasing + 1, appended + 1))
        assert all(one == entry(sequence) for sequence, one in found.items())
        assert all(
            digest_of(sequence) in spool.state.digests for sequence in range(1, appended + 1)
        )
        assert spool.state.pending_requests == len(found)
        assert appended <= spool.state.last_sequence <= appended + 12  # one group was under way
        assert spool.state.damaged_files == 0
        appended = spool.state.last_sequence
        receiver_ids.add(spool.state.receiver_id)
        spool.close()
    assert len(receiver_ids) == 1
    assert releasing > 0


def test_a_second_process_is_refused_until_the_first_has_gone(path: Path) -> None:
    spool = spool_at(path)
    with Program("hold", path) as program:
        assert program.line() == "held"
        with pytest.raises(SpoolRefusedError, match="another process uses it") as refusal:
            spool.start()
        assert f"fuser -v {path}.lock" in str(refusal.value)
        program.go_on()
        assert program.line() == "closed"
    spool.start()
    assert read_all(spool) == [entry(1)]
    spool.close()


def test_a_killed_process_leaves_no_lock(path: Path) -> None:
    with Program("hold", path) as program:
        assert program.line() == "held"
        program.kill()
    spool = spool_at(path)
    spool.start()
    assert read_all(spool) == [entry(1)]
    spool.close()


def check_full(lines: list[str], refusal: str) -> None:
    said, *rest = lines
    assert said.startswith("SpoolUnavailableError")
    assert re.search(refusal, said)
    assert rest == ["True", "True", "True"], lines


def test_a_file_that_may_not_grow_takes_appends_again_when_it_may(path: Path) -> None:
    with Program("small_file", path, 300_000) as program:
        check_full(
            program.rest(),
            f"spool {path}: appending: disk I/O error; the disk or the file system failed",
        )


def test_a_full_volume_takes_appends_again_when_there_is_room(path: Path) -> None:
    mount = f'mount -t tmpfs -o size=3m none "{path.parent}" && exec "$@"'
    wrapper = ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh")
    with Program("small_volume", path, 1_500_000, wrapper=wrapper) as program:
        lines = program.rest()
    if len(lines) == 1 and ("unshare" in lines[0] or "mount" in lines[0]):
        pytest.skip(f"no volume can be mounted here: {lines[0]}")
    check_full(
        lines, "database or disk is full; \\d+ bytes are free on its volume; make room there"
    )
