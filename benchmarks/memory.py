"""Memory of a long-running receiver: the last quarter of a run against the second.

`serve` stores into SQLite; four senders with a thousand series each send step after step. The first
quarter is left out because caches fill in it.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count, islice, pairwise
from pathlib import Path
from typing import Final

import grpc

from benchmarks.client import EXPORT, send_all
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.serve_process import ServeProcess, running_serve
from benchmarks.workload import SHAPES, at_step, requests

_SENDERS: Final = 4
_POINTS: Final = 1_000
_IN_FLIGHT: Final = 8
_SAMPLE_EVERY_SECONDS: Final = 0.2
_TIMEOUT_SECONDS: Final = 600.0
_MIB: Final = 1 << 20


def run(options: Options) -> list[Result]:
    """Return one result: the largest resident size of each quarter."""
    count = options.points // _POINTS
    with tempfile.TemporaryDirectory() as folder:
        with running_serve(Path(folder)) as program, _sampled(program) as samples:
            quarters = _send(program, count, samples)
        stored = _stored(Path(folder))
        if (
            stored < count * _POINTS
        ):  # SQLite was slower than the senders; a restart stores the spool
            with running_serve(Path(folder)):
                deadline = time.monotonic() + _TIMEOUT_SECONDS
                while (stored := _stored(Path(folder))) < count * _POINTS:
                    assert time.monotonic() < deadline, f"{stored:,} points are stored"
                    time.sleep(1.0)
    assert stored == count * _POINTS
    most = [max(quarter) for quarter in quarters]
    return [
        Result(
            f"memory over {stored:,} points",
            stored,
            most[3],
            "the second quarter",
            most[1],
            0.95,
            note="resident MiB by quarter: "
            + ", ".join(f"{size / _MIB:.0f}" for size in most)
            + " (us/point is bytes a million points)",
        )
    ]


def _stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "served.db")) as connection:
        (stored,) = connection.execute("SELECT COUNT(*) FROM system_metrics").fetchone()
    return int(stored)


@contextmanager
def _sampled(program: ServeProcess) -> Iterator[list[int]]:
    samples: list[int] = []
    stopped = threading.Event()

    def sample() -> None:
        while not stopped.wait(_SAMPLE_EVERY_SECONDS):
            samples.append(program.resident_bytes())

    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        yield samples
    finally:
        stopped.set()
        sampling.join()


def _send(program: ServeProcess, count: int, samples: list[int]) -> list[list[int]]:
    """Send `count` requests; returns the samples of each quarter."""
    ends = [0]
    with grpc.insecure_channel(program.address) as channel:
        export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(EXPORT)
        every = _all_steps()
        for quarter in range(4):
            part = islice(every, count * (quarter + 1) // 4 - count * quarter // 4)
            send_all(export, part, at_a_time=_IN_FLIGHT)
            samples.append(program.resident_bytes())
            ends.append(len(samples))
    return [samples[begin:end] for begin, end in pairwise(ends)]


def _all_steps() -> Iterator[bytes]:
    first = requests(SHAPES[0], _SENDERS, series_sets=_SENDERS)
    for step in count(1):
        yield from at_step(first, step)
