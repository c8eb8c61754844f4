"""CPU time of an idle `serve` with default settings."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from benchmarks.measure import Result
from benchmarks.serve_process import running_serve

_WARM_UP_SECONDS: Final = 3.0
_SECONDS: Final = 10.0
_SHARE_OF_A_CORE: Final = 0.005


def run() -> list[Result]:
    """Return one result: CPU seconds against half a percent of the wall time."""
    with tempfile.TemporaryDirectory() as folder, running_serve(Path(folder)) as program:
        time.sleep(_WARM_UP_SECONDS)
        process = psutil.Process(program.pid)
        before, began = process.cpu_times(), time.perf_counter()
        time.sleep(_SECONDS)
        after, seconds = process.cpu_times(), time.perf_counter() - began
    used = after.user + after.system - before.user - before.system
    return [
        Result(
            "idle receiver",
            1,
            max(used, 0.01),  # the resolution of the system's CPU clock
            "0.5 % of a core",
            seconds * _SHARE_OF_A_CORE,
            1.0,
            note=f"{used / seconds:.2%} of a core over {seconds:.0f} s",
        )
    ]
