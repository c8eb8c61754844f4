"""What the spool's tests run as processes of their own: `python worker.py NAME PATH [NUMBER ...]`.

Each program prints a line at every point that a test waits for, and where it says `wait` it goes
on when it is sent a line. So nothing here or in the tests needs to sleep.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import Final

from exporter.errors import ExporterError
from exporter.spool import Entry, Spool
from kit.spool.samples import START, entry, group, read_all, spool_at


def say(text: object) -> None:
    print(text, flush=True)  # noqa: T201 - how the programs talk to the test


def wait() -> None:
    sys.stdin.readline()


def hold(path: str) -> None:
    """Use the spool until told otherwise."""
    spool = spool_at(Path(path))
    spool.start()
    spool.append(group([1]))
    say("held")
    wait()
    spool.close()
    say("closed")


def work(path: str, seed: str) -> None:
    """Append, release and tidy without end; say each before (release) or after (append)."""
    random = Random(int(seed))
    spool = spool_at(Path(path))
    spool.start()
    say(f"started {spool.state.last_sequence}")
    while True:
        first = spool.state.last_sequence + 1
        last = first + random.randrange(12)
        spool.append(group(range(first, last + 1)))
        say(f"appended {last}")
        if random.random() < 0.3:
            upto = last - random.randrange(20)
            if upto > 0:
                say(f"releasing {upto}")
                spool.release(upto)
        if random.random() < 0.2:
            spool.compact(START)


def small_file(path: str, limit_bytes: str) -> None:
    """Append to a file that may not grow, then may."""
    spool = spool_at(Path(path))
    spool.start()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), most))
    _until_refused(spool)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    _and_again(spool)


def small_volume(path: str, limit_bytes: str) -> None:
    """Append on a full volume, then make room there."""
    ballast = Path(path).with_name("ballast")
    spool = spool_at(Path(path))
    spool.start()
    ballast.write_bytes(bytes(int(limit_bytes)))
    _until_refused(spool)
    ballast.unlink()
    _and_again(spool)


def _until_refused(spool: Spool) -> None:
    for first in count(1, 4):
        try:
            spool.append(group(range(first, first + 4), size_bytes=8_000))
        except ExporterError as error:
            say(f"{type(error).__name__}: {error}")
            kept = read_all(spool)
            say(kept == _plain(first - 1) and spool.state.last_sequence == first - 1)
            say(
                spool.state.pending_requests == len(kept)
                and group([first])[0].digest not in spool.state.digests
            )
            return


def _and_again(spool: Spool) -> None:
    first = spool.state.last_sequence + 1
    spool.append(group(range(first, first + 4), size_bytes=8_000))
    spool.close()
    again = spool_at(spool.path)
    again.start()
    say(read_all(again) == _plain(first + 3) and again.state.damaged_files == 0)
    again.close()


def _plain(last: int) -> list[Entry]:
    return [entry(sequence, 8_000) for sequence in range(1, last + 1)]


PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    program.__name__: program for program in (hold, work, small_file, small_volume)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
