"""How long to wait before the next attempt; pure, and never sleeps itself."""

from __future__ import annotations

from random import Random
from typing import Final

__all__ = ["delay_seconds"]

INITIAL_SECONDS: Final = 0.1
MAX_SECONDS: Final = 30.0
MULTIPLIER: Final = 2.0


def delay_seconds(attempt: int, rng: Random) -> float:
    """The wait after the given failed attempt, in seconds.

    Exponential with "equal jitter": between half and all of min(0.1 s x 2^(attempt - 1), 30 s),
    so that receivers that lost one database together do not come back to it together.

    Args:
        attempt: how many attempts have failed, from 1.
        rng: source of the jitter.
    """
    ceiling = min(INITIAL_SECONDS * MULTIPLIER ** min(attempt - 1, 32), MAX_SECONDS)
    return ceiling * rng.uniform(0.5, 1.0)
