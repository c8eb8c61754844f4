"""Many live series: time of a point, memory of a known series, and time after a restart.

A thousand senders with a thousand series each are compared with ten senders. The same number of
points goes through a pipeline into SQLite. Then the receiver restarts on the same file: its series
cache is empty and the file has all definitions.
"""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from benchmarks.measure import Result
from benchmarks.workload import SHAPES, WARM_UP_STEPS, at_step, requests
from exporter.assembly import pipeline_for
from exporter.backends import open_backend
from exporter.config import load
from exporter.pipeline import Pipeline

_FEW: Final = 10
_MANY: Final = 1_000
_SERIES_PER_SENDER: Final = 1_000
# Each of these sends one request after the restart; a million series would take a minute.
_SENDERS_AFTER_RESTART: Final = 250
_BATCH_SIZE: Final = 20_000
_TIMEOUT_SECONDS: Final = 600.0


def run() -> list[Result]:
    """Compare a point of a million series with one of ten thousand, and measure a restart."""
    first = requests(SHAPES[0], _MANY, series_sets=_MANY)
    with tempfile.TemporaryDirectory() as folder:
        few = _steady(Path(folder) / "few.db", first[:_FEW], steps=_MANY // _FEW)
        many = _steady(Path(folder) / "many.db", first, steps=1)
        points = len(first) * _SERIES_PER_SENDER
        back = first[:_SENDERS_AFTER_RESTART]
        known, longest = _first_step(Path(folder) / "many.db", back, WARM_UP_STEPS + 2)
    return [
        Result(
            f"a point of {points:,} series",
            points,
            many.seconds,
            f"of {_FEW * _SERIES_PER_SENDER:,}",
            few.seconds,
            0.5,
            note=f"a known series takes {many.taken_bytes / points:.0f} bytes of memory",
        ),
        Result(
            f"restart with {points:,} series",
            len(back) * _SERIES_PER_SENDER,
            known,
            "when they were new",
            many.new_seconds * len(back) / len(first),
            0.9,
            note=f"longest wait of a request with 1,000 of them: {longest * 1e3:.0f} ms",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Steady:
    """Measurements of steady senders.

    Attributes:
        new_seconds: time of their first step, in which every series is new.
        taken_bytes: memory of their cache entries.
        seconds: time of the steps after the warm-up.
    """

    new_seconds: float
    taken_bytes: int
    seconds: float


def _steady(path: Path, first: Sequence[bytes], *, steps: int) -> _Steady:
    pipeline = _pipeline(path)
    pipeline.start()
    gc.collect()
    before = _resident_bytes()
    warm_up = [_stored(pipeline, at_step(first, step + 1))[0] for step in range(WARM_UP_STEPS)]
    taken_bytes = _resident_bytes() - before
    sent = [data for step in range(steps) for data in at_step(first, WARM_UP_STEPS + step + 1)]
    seconds, _ = _stored(pipeline, sent)
    _finish(pipeline, len(first) * WARM_UP_STEPS + len(sent))
    return _Steady(warm_up[0], taken_bytes, seconds)


def _first_step(path: Path, first: Sequence[bytes], step: int) -> tuple[float, float]:
    """Seconds for one step of senders that this process does not know, and the longest submit."""
    pipeline = _pipeline(path)
    pipeline.start()
    taken = _stored(pipeline, at_step(first, step))
    _finish(pipeline, len(first))
    return taken


def _pipeline(path: Path) -> Pipeline:
    backend = open_backend("sqlite", f"sqlite:///{path}", max_memory_entries=0)
    defaults = load(None, {}).exporter
    settings = replace(defaults, batch_size=_BATCH_SIZE, max_queued_entries=1 << 30)
    return pipeline_for(settings, backend, None, deletes_expired=False)


def _stored(pipeline: Pipeline, sent: Iterable[bytes]) -> tuple[float, float]:
    """Seconds until requests submitted one by one are stored, and the longest submit."""
    made, longest = list(sent), 0.0
    began = time.perf_counter()
    for data in made:
        submitting = time.perf_counter()
        assert not pipeline.submit(data).counts
        longest = max(longest, time.perf_counter() - submitting)
    assert pipeline.flush(_TIMEOUT_SECONDS)
    return time.perf_counter() - began, longest


def _finish(pipeline: Pipeline, sent: int) -> None:
    assert pipeline.shutdown(_TIMEOUT_SECONDS)
    assert pipeline.stats().points_stored == sent * _SERIES_PER_SENDER


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
