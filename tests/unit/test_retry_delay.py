"""The retry delay grows, is bounded, and differs between receivers."""

from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from exporter.pipeline.writer import INITIAL_RETRY_SECONDS, MAX_RETRY_SECONDS, retry_delay_seconds


@given(st.integers(1, 10_000), st.integers())
def test_the_delay_is_bounded_on_both_sides(failures: int, seed: int) -> None:
    delay = retry_delay_seconds(failures, Random(seed))
    assert INITIAL_RETRY_SECONDS / 2 <= delay <= MAX_RETRY_SECONDS


def test_the_delay_doubles_until_its_ceiling() -> None:
    longest = [
        max(retry_delay_seconds(n, Random(seed)) for seed in range(200)) for n in range(1, 12)
    ]
    assert longest[0] <= INITIAL_RETRY_SECONDS
    assert all(later > 1.5 * sooner for sooner, later in pairwise(longest[:9]))
    assert longest[-1] > MAX_RETRY_SECONDS * 0.9


def test_receivers_that_fail_together_do_not_return_together() -> None:
    assert len({retry_delay_seconds(5, Random(seed)) for seed in range(20)}) == 20
