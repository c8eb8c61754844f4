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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.measure import Result
from benchmarks.workload import LEARNING_STEPS, SHAPES, at_step, requests
from exporter.backends import open_backend
from exporter.pipeline import Pipeline, build_pipeline

__all__ = ["run"]

_FEW: Final = 10
_MANY: Final = 1_000
_SERIES_OF_A_SENDER: Final = 1_000
# Each of these waits for its first request after the restart: a million series take a minute.
_BACK_AFTER_RESTART: Final = 250
_BATCH_SIZE: Final = 20_000
_MEMORY_LIMIT_BYTES: Final = 2 << 30  # as it ships
_PATIENCE_SECONDS: Final = 600.0


def run() -> list[Result]:
    """A point of a million series against one of ten thousand; and a restart."""
    first = requests(SHAPES[0], _MANY, series_sets=_MANY)
    with tempfile.TemporaryDirectory() as folder:
        few = _steady(Path(folder) / "few.db", first[:_FEW], steps=_MANY // _FEW)
        many = _steady(Path(folder) / "many.db", first, steps=1)
        points = len(first) * _SERIES_OF_A_SENDER
        back = first[:_BACK_AFTER_RESTART]
        known, longest = _first_step(Path(folder) / "many.db", back, LEARNING_STEPS + 2)
    return [
        Result(
            f"a point of {points:,} series",
            points,
            many.seconds,
            f"of {_FEW * _SERIES_OF_A_SENDER:,}",
            few.seconds,
            0.5,
            note=f"a known series takes {many.taken_bytes / points:.0f} bytes of memory",
        ),
        Result(
            f"restart with {points:,} series",
            len(back) * _SERIES_OF_A_SENDER,
            known,
            "when they were new",
            many.new_seconds * len(back) / len(first),
            0.9,
            note=f"the longest that a request of 1,000 of them waited: {longest * 1e3:.0f} ms",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Steady:
    """What steady senders come to.

    Attributes:
        new_seconds: for their first step, in which every series is new.
        taken_bytes: of memory, for knowing them.
        seconds: for steps after they are known.
    """

    new_seconds: float
    taken_bytes: int
    seconds: float


def _steady(path: Path, first: Sequence[bytes], *, steps: int) -> _Steady:
    pipeline = _pipeline(path)
    pipeline.start()
    gc.collect()
    before = _resident_bytes()
    learning = [_stored(pipeline, at_step(first, step + 1))[0] for step in range(LEARNING_STEPS)]
    taken_bytes = _resident_bytes() - before
    sent = [data for step in range(steps) for data in at_step(first, LEARNING_STEPS + step + 1)]
    seconds, _ = _stored(pipeline, sent)
    _finish(pipeline, len(first) * LEARNING_STEPS + len(sent))
    return _Steady(learning[0], taken_bytes, seconds)


def _first_step(path: Path, first: Sequence[bytes], step: int) -> tuple[float, float]:
    """Seconds for one step of senders that this process has never seen; the longest submit."""
    pipeline = _pipeline(path)
    pipeline.start()
    taken = _stored(pipeline, at_step(first, step))
    _finish(pipeline, len(first))
    return taken


def _pipeline(path: Path) -> Pipeline:
    return build_pipeline(
        open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0),
        batch_size=_BATCH_SIZE,
        max_queued_entries=1 << 30,
        memory_limit_bytes=_MEMORY_LIMIT_BYTES,
    )


def _stored(pipeline: Pipeline, sent: Iterable[bytes]) -> tuple[float, float]:
    """Seconds until requests are stored that are submitted one by one; those of the slowest."""
    made, longest = list(sent), 0.0
    began = time.perf_counter()
    for data in made:
        submitting = time.perf_counter()
        assert not pipeline.submit(data).counts
        longest = max(longest, time.perf_counter() - submitting)
    assert pipeline.flush(_PATIENCE_SECONDS)
    return time.perf_counter() - began, longest


def _finish(pipeline: Pipeline, sent: int) -> None:
    assert pipeline.shutdown(_PATIENCE_SECONDS)
    assert pipeline.stats().points_stored == sent * _SERIES_OF_A_SENDER


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
