"""What a receiver costs that nobody sends to: CPU of `serve` over some seconds, as it ships."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from benchmarks.measure import Result
from benchmarks.served import served

__all__ = ["run"]

_SETTLED_SECONDS: Final = 3.0
_SECONDS: Final = 10.0
_SHARE_OF_A_CORE: Final = 0.005


def run() -> list[Result]:
    """One result: seconds of CPU, against half a percent of the time."""
    with tempfile.TemporaryDirectory() as folder, served(Path(folder)) as program:
        time.sleep(_SETTLED_SECONDS)
        process = psutil.Process(program.pid)
        before, began = process.cpu_times(), time.perf_counter()
        time.sleep(_SECONDS)
        after, seconds = process.cpu_times(), time.perf_counter() - began
    used = after.user + after.system - before.user - before.system
    return [
        Result(
            "idle receiver",
            1,
            max(used, 0.01),  # what the clock of the system can tell
            "0.5 % of a core",
            seconds * _SHARE_OF_A_CORE,
            1.0,
            note=f"{used / seconds:.2%} of a core over {seconds:.0f} s",
        )
    ]
