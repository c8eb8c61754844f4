"""The spool after kill -9, on a full disk, and with a second process."""

import re
from functools import partial
from pathlib import Path
from random import Random

import pytest
from kit import spool as spool_kit
from kit.backends.programs import Program
from kit.spool.samples import entry, is_known, open_spool, read_all, spool_at

from exporter.spool import SpoolRefusedError

KILLS = 25
LARGEST_GROUP = 12

spool_program = partial(Program, worker=Path(spool_kit.__file__).with_name("worker.py"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


def test_appended_requests_survive_a_kill_at_random_moments(path: Path) -> None:
    random = Random(7)
    appended, releasing = 0, 0
    receiver_ids = set()
    for seed in range(KILLS):
        with spool_program("work", path, seed) as program:
            assert program.line() == f"started {appended}"
            lines = [program.line() for _ in range(random.randrange(1, 60))]
            program.kill()
            lines += program.rest()
        said = [line.split() for line in lines]
        appended = max(int(number) for word, number in said if word == "appended")
        releasing = max([int(n) for word, n in said if word == "releasing"] + [releasing])
        with open_spool(path) as spool:
            found = {one.sequence: one for one in read_all(spool)}
            assert found.keys() >= set(range(releasing + 1, appended + 1))
            assert all(one == entry(sequence) for sequence, one in found.items())
            assert all(is_known(spool, *range(1, appended + 1)))
            assert spool.state.pending_requests == len(found)
            # The kill may have come between a commit and the line about it.
            assert appended <= spool.state.last_sequence <= appended + LARGEST_GROUP
            assert spool.state.damaged_files == 0
            appended = spool.state.last_sequence
            receiver_ids.add(spool.state.receiver_id)
    assert len(receiver_ids) == 1
    assert releasing > 0


def test_a_second_process_is_refused_until_the_first_has_closed(path: Path) -> None:
    with spool_program("hold", path) as program:
        assert program.line() == "held"
        with pytest.raises(SpoolRefusedError, match="another process uses it") as refusal:
            spool_at(path).start()
        assert f"fuser -v {path}.lock" in str(refusal.value)
        program.resume()
        assert program.line() == "closed"
    with open_spool(path) as spool:
        assert read_all(spool) == [entry(1)]


def test_a_killed_process_leaves_no_lock(path: Path) -> None:
    with spool_program("hold", path) as program:
        assert program.line() == "held"
        program.kill()
    with open_spool(path) as spool:
        assert read_all(spool) == [entry(1)]


def check_full(lines: list[str], refusal: str) -> None:
    said, *checks = lines
    assert said.startswith("SpoolUnavailableError")
    assert re.search(refusal, said)
    assert checks == ["True", "True", "True"], lines


def test_a_file_at_its_size_limit_takes_appends_when_the_limit_is_raised(path: Path) -> None:
    with spool_program("small_file", path, 300_000) as program:
        check_full(
            program.rest(),
            f"spool {path}: appending: disk I/O error; the disk or the file system failed",
        )


def test_a_full_volume_takes_appends_when_space_is_freed(path: Path) -> None:
    mount = f'mount -t tmpfs -o size=3m none "{path.parent}" && exec "$@"'
    wrapper = ("unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh")
    with spool_program("small_volume", path, 1_500_000, wrapper=wrapper) as program:
        lines = program.rest()
    if len(lines) == 1 and ("unshare" in lines[0] or "mount" in lines[0]):
        pytest.skip(f"no volume can be mounted here: {lines[0]}")
    check_full(lines, r"database or disk is full; \d+ bytes are free on its volume; make room")
