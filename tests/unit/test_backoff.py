from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.backoff import INITIAL_SECONDS, MAX_SECONDS, delay_seconds


@given(st.integers(1, 10_000), st.integers())
def test_the_wait_is_bounded_on_both_sides(attempt: int, seed: int) -> None:
    wait = delay_seconds(attempt, Random(seed))
    assert INITIAL_SECONDS / 2 <= wait <= MAX_SECONDS


def test_the_wait_doubles_until_its_ceiling() -> None:
    longest = [max(delay_seconds(n, Random(seed)) for seed in range(200)) for n in range(1, 12)]
    assert longest[0] <= INITIAL_SECONDS
    assert all(later > 1.5 * sooner for sooner, later in pairwise(longest[:9]))
    assert longest[-1] > MAX_SECONDS * 0.9


def test_receivers_that_fail_together_do_not_come_back_together() -> None:
    assert len({delay_seconds(5, Random(seed)) for seed in range(20)}) == 20
