"""Timing two things side by side, and what is printed of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Result", "side_by_side"]


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison: speed of ours and of the baseline, in the same run.

    Attributes:
        name: what was measured.
        points: how many data points one round handled, or rows an answer had.
        seconds: the best round of ours; bytes, where memory is compared.
        baseline: what it is compared with.
        baseline_seconds: the best round of that, for the same points.
        target: the ratio that ours should reach.
        note: what else was found, in words.
    """

    name: str
    points: int
    seconds: float
    baseline: str
    baseline_seconds: float
    target: float
    note: str = ""

    @property
    def ratio(self) -> float:
        """Speed of ours over speed of the baseline."""
        return self.baseline_seconds / self.seconds


def side_by_side(
    ours: Callable[[], object], baseline: Callable[[], object], *, rounds: int
) -> tuple[float, float]:
    """Best seconds of each over some rounds, taken in turns so that both see the same machine."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for at, run in enumerate((ours, baseline)):
            began = time.perf_counter()
            run()
            best[at] = min(best[at], time.perf_counter() - began)
    return best[0], best[1]
