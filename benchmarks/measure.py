"""Times two functions in turns, and holds the result of a comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Result:
    """One comparison between our code and a baseline in the same run.

    Attributes:
        name: what was measured.
        points: data points of one round, or rows of an answer.
        seconds: our best round; bytes when memory is compared.
        baseline: the name of the baseline.
        baseline_seconds: the best round of the baseline, for the same points.
        target: the ratio to reach; 0 for none.
        note: other findings, in words.
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
        """Our speed divided by the speed of the baseline."""
        return self.baseline_seconds / self.seconds


def side_by_side(
    ours: Callable[[], object], baseline: Callable[[], object], *, rounds: int
) -> tuple[float, float]:
    """Best seconds of both; rounds alternate, so both see the same load of the machine."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for at, run in enumerate((ours, baseline)):
            began = time.perf_counter()
            run()
            best[at] = min(best[at], time.perf_counter() - began)
    return best[0], best[1]
