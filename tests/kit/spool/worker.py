"""Programs that run as processes of their own: `python worker.py NAME PATH [NUMBER ...]`.

Each prints a line at every point that a test waits for, and reads a line before it continues.
Neither side needs to sleep.
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
from kit.spool.samples import (
    START_UNIX_NANO,
    entry,
    group,
    is_known,
    open_spool,
    read_all,
    spool_at,
)

_SIZE_BYTES: Final = 8_000


def say(text: object) -> None:
    print(text, flush=True)  # noqa: T201 - how the programs talk to the test


def hold(path: str) -> None:
    """Use the spool until a line comes."""
    with open_spool(Path(path)) as spool:
        spool.append(group([1]))
        say("held")
        sys.stdin.readline()
    say("closed")


def work(path: str, seed: str) -> None:
    """Append, release and compact without end; say each before (release) or after (append)."""
    random = Random(int(seed))
    with open_spool(Path(path)) as spool:
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
                spool.compact(START_UNIX_NANO)


def small_file(path: str, limit_bytes: str) -> None:
    """Append to a file at its size limit, then raise the limit."""
    spool = spool_at(Path(path))
    spool.start()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    _, hard_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit_bytes), hard_limit))
    _append_until_refused(spool)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard_limit, hard_limit))
    _append_and_restart(spool)


def small_volume(path: str, limit_bytes: str) -> None:
    """Append on a full volume, then free space there."""
    ballast = Path(path).with_name("ballast")
    spool = spool_at(Path(path))
    spool.start()
    ballast.write_bytes(bytes(int(limit_bytes)))
    _append_until_refused(spool)
    ballast.unlink()
    _append_and_restart(spool)


def _append_until_refused(spool: Spool) -> None:
    for first in count(1, 4):
        try:
            spool.append(group(range(first, first + 4), _SIZE_BYTES))
        except ExporterError as error:
            say(f"{type(error).__name__}: {error}")
            found = read_all(spool)
            say(found == _entries(first - 1) and spool.state.last_sequence == first - 1)
            say(spool.state.pending_requests == len(found) and is_known(spool, first) == [False])
            return


def _append_and_restart(spool: Spool) -> None:
    first = spool.state.last_sequence + 1
    spool.append(group(range(first, first + 4), _SIZE_BYTES))
    spool.close()
    with open_spool(spool.path) as again:
        say(read_all(again) == _entries(first + 3) and again.state.damaged_files == 0)


def _entries(last_sequence: int) -> list[Entry]:
    return [entry(sequence, _SIZE_BYTES) for sequence in range(1, last_sequence + 1)]


PROGRAMS: Final[dict[str, Callable[..., None]]] = {
    program.__name__: program for program in (hold, work, small_file, small_volume)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
