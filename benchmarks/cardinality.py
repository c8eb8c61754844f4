"""Many live series: what a point costs, what a known series takes, and what a restart is like.

A thousand senders of a thousand series each, against ten; the same number of points goes through a
pipeline into SQLite. Then the receiver starts again on the same file, where it knows no series and
the file knows all.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import Result
from benchmarks.workload import FIRST_TIME_UNIX_NANO, SHAPES, STEP_NANO, requests
from exporter.backends import open_backend
from exporter.pipeline import Pipeline

__all__ = ["run"]

_FEW: Final = 10
_MANY: Final = 1_000
_SERIES_OF_A_SENDER: Final = 1_000
# A sender is learned at its second request.
_LEARNING_STEPS: Final = 2
_BATCH_SIZE: Final = 20_000
_MEMORY_LIMIT_BYTES: Final = 2 << 30  # as it ships
_PATIENCE_SECONDS: Final = 600.0


def run() -> list[Result]:
    """A point of a million series against one of ten thousand; and a restart."""
    first = requests(SHAPES[0], _MANY, series_sets=_MANY)
    with tempfile.TemporaryDirectory() as folder:
        few, _ = _steady(Path(folder) / "few.db", first[:_FEW], steps=_MANY // _FEW)
        many, taken_bytes = _steady(Path(folder) / "many.db", first, steps=1)
        points = len(first) * _SERIES_OF_A_SENDER
        new, _ = _first_step(Path(folder) / "new.db", first, 1)
        known, longest = _first_step(Path(folder) / "many.db", first, _LEARNING_STEPS + 2)
    return [
        Result(
            f"a point of {points:,} series",
            points,
            many,
            f"of {_FEW * _SERIES_OF_A_SENDER:,}",
            few,
            0.5,
            note=f"a known series takes {taken_bytes / points:.0f} bytes of memory",
        ),
        Result(
            f"restart with {points:,} series",
            points,
            known,
            "all of them new",
            new,
            1.0,
            note=f"the longest that a request of 1,000 of them waited: {longest * 1e3:.0f} ms",
        ),
    ]


def _steady(path: Path, first: Sequence[bytes], *, steps: int) -> tuple[float, int]:
    """Seconds for some steps of known senders to be stored; bytes taken by knowing them."""
    pipeline = _pipeline(path)
    pipeline.start()
    gc.collect()
    before = _resident_bytes()
    for step in range(1, _LEARNING_STEPS + 1):
        _submit(pipeline, _at(first, step))
    assert pipeline.flush(_PATIENCE_SECONDS)
    taken_bytes = _resident_bytes() - before
    later = [_at(first, _LEARNING_STEPS + step) for step in range(1, steps + 1)]
    sent = [list(step) for step in later]  # made before the clock runs
    began = time.perf_counter()
    for step_requests in sent:
        _submit(pipeline, step_requests)
    assert pipeline.flush(_PATIENCE_SECONDS)
    seconds = time.perf_counter() - began
    _finish(pipeline, len(first) * (_LEARNING_STEPS + steps))
    return seconds, taken_bytes


def _first_step(path: Path, first: Sequence[bytes], step: int) -> tuple[float, float]:
    """Seconds for one step of senders that this process has never seen; the longest submit."""
    pipeline = _pipeline(path)
    pipeline.start()
    sent = list(_at(first, step))
    began = time.perf_counter()
    longest = _submit(pipeline, sent)
    assert pipeline.flush(_PATIENCE_SECONDS)
    seconds = time.perf_counter() - began
    _finish(pipeline, len(first))
    return seconds, longest


def _pipeline(path: Path) -> Pipeline:
    return Pipeline(
        open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0),
        batch_size=_BATCH_SIZE,
        max_queued_entries=1 << 30,
        memory_limit_bytes=_MEMORY_LIMIT_BYTES,
    )


def _submit(pipeline: Pipeline, sent: Sequence[bytes] | Iterator[bytes]) -> float:
    """Submit them one after the other; the seconds of the slowest."""
    longest = 0.0
    for data in sent:
        began = time.perf_counter()
        assert not pipeline.submit(data).counts
        longest = max(longest, time.perf_counter() - began)
    return longest


def _finish(pipeline: Pipeline, sent: int) -> None:
    assert pipeline.shutdown(_PATIENCE_SECONDS)
    assert pipeline.stats().points_stored == sent * _SERIES_OF_A_SENDER


def _at(first: Sequence[bytes], step: int) -> Iterator[bytes]:
    # The same requests with other times, in place: encoding them anew would take longer than all.
    written = (FIRST_TIME_UNIX_NANO + STEP_NANO).to_bytes(8, "little")
    now = (FIRST_TIME_UNIX_NANO + step * STEP_NANO).to_bytes(8, "little")
    return (data.replace(written, now) for data in first)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
