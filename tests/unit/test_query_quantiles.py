import math
from bisect import bisect_left
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.query.quantiles import ExponentialCounts, explicit_quantile, exponential_quantile

BOUNDS = (1.0, 2.0, 5.0)

QUANTILES = st.floats(0, 1)
VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)
ALL_BOUNDS = st.lists(st.floats(-1e6, 1e6), max_size=12, unique=True).map(sorted)
SCALES = st.integers(-4, 8)
# Without the smallest doubles, whose logarithms are not exact.
SIGNED = st.lists(
    st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6) | st.just(0.0), min_size=1, max_size=50
)


@pytest.mark.parametrize(
    ("quantile", "counts", "expected"),
    [
        # Ten values uniform in (0, 1]: half of them are below the middle.
        (0.5, (10, 0, 0, 0), 0.5),
        (1.0, (10, 0, 0, 0), 1.0),
        (0.0, (10, 0, 0, 0), 0.0),
        # Six of eight values: all four of (0, 1] and two of the four in (1, 2].
        (0.75, (4, 4, 0, 0), 1.5),
        (0.5, (4, 4, 0, 0), 1.0),
        (0.5, (0, 0, 2, 0), 3.5),
        (0.25, (1, 0, 3, 0), 1.0),
        # The last bucket has no upper bound.
        (0.99, (1, 1, 1, 7), 5.0),
        (0.5, (0, 0, 0, 7), 5.0),
        (0.5, (0, 0, 0, 0), None),
        # A negative count, from a reset that was not detected, is left out.
        (0.5, (-3, 2, 0, 0), 1.5),
    ],
)
def test_explicit_buckets_calculated_by_hand(
    quantile: float, counts: tuple[int, ...], expected: float | None
) -> None:
    assert explicit_quantile(quantile, BOUNDS, counts) == expected


@pytest.mark.parametrize(
    ("quantile", "expected"), [(0.0, 0.4), (0.25, 0.7), (0.5, 1.0), (0.75, 7.0), (1.0, 9.0)]
)
def test_minimum_and_maximum_clip_the_outer_buckets(quantile: float, expected: float) -> None:
    # Two values in (0.4, 1] and two in (5, 9].
    value = explicit_quantile(quantile, BOUNDS, (2, 0, 0, 2), low=0.4, high=9.0)
    assert value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("bounds", "counts", "low", "high", "expected"),
    [
        pytest.param((), (4,), None, None, None, id="no bounds"),
        pytest.param((), (4,), 2.0, 6.0, 4.0, id="no bounds but limits"),
        pytest.param((), (4,), None, 6.0, 6.0, id="no bounds but the largest"),
        pytest.param((), (), 1.0, 2.0, None, id="no buckets"),
        pytest.param((-3.0, 3.0), (5, 1, 0), None, None, -3.0, id="first bucket below zero"),
        pytest.param((1.0,), (4, 0), 5.0, 2.0, 0.5, id="limits that contradict each other"),
    ],
)
def test_missing_bounds_and_limits(
    bounds: tuple[float, ...],
    counts: tuple[int, ...],
    low: float | None,
    high: float | None,
    expected: float | None,
) -> None:
    assert explicit_quantile(0.5, bounds, counts, low, high) == expected


def explicit_counts(values: list[float], bounds: list[float]) -> list[int]:
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    return counts


@given(QUANTILES, VALUES, ALL_BOUNDS)
@example(1.0, [0.1] * 3, [])
def test_an_explicit_quantile_is_in_the_bucket_of_the_true_one(
    quantile: float, values: list[float], bounds: list[float]
) -> None:
    low, high = min(values), max(values)
    estimate = explicit_quantile(quantile, bounds, explicit_counts(values, bounds), low, high)
    true = sorted(values)[max(0, math.ceil(quantile * len(values)) - 1)]
    place = bisect_left(bounds, true)
    edges = [-math.inf, *bounds, math.inf]
    assert estimate is not None
    assert max(edges[place], low) <= estimate <= min(edges[place + 1], high)


@given(VALUES, ALL_BOUNDS)
def test_p0_and_p100_are_exact_if_the_limits_are_known(
    values: list[float], bounds: list[float]
) -> None:
    counts = explicit_counts(values, bounds)
    assert explicit_quantile(0.0, bounds, counts, min(values), max(values)) == min(values)
    assert explicit_quantile(1.0, bounds, counts, min(values), max(values)) == max(values)


@given(QUANTILES, st.floats(-1e6, 1e6), st.integers(1, 100), ALL_BOUNDS)
def test_the_quantile_of_equal_values_is_exact(
    quantile: float, value: float, count: int, bounds: list[float]
) -> None:
    counts = explicit_counts([value] * count, bounds)
    assert explicit_quantile(quantile, bounds, counts, value, value) == value


@given(
    st.lists(QUANTILES, min_size=2).map(sorted),
    VALUES,
    ALL_BOUNDS,
    st.sampled_from(["limits", "no limits"]),
)
def test_explicit_quantiles_are_monotonic(
    quantiles: list[float], values: list[float], bounds: list[float], known: str
) -> None:
    limits = (min(values), max(values)) if known == "limits" else (None, None)
    counts = explicit_counts(values, bounds)
    estimates = [explicit_quantile(quantile, bounds, counts, *limits) for quantile in quantiles]
    values_there = [estimate for estimate in estimates if estimate is not None]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(values_there))


def exponential_parts(values: list[float], scale: int) -> list[tuple[int, int, int, float]]:
    """Bucket i counts the values in (base^i, base^(i+1)], by definition."""
    counts = Counter(
        (0, 0)
        if value == 0
        else (
            1 if value > 0 else -1,
            math.ceil(math.ldexp(math.log2(abs(value)), scale)) - 1,
        )
        for value in values
    )
    return [(scale, sign, index, count) for (sign, index), count in counts.items()]


def counted(values: list[float], scale: int) -> ExponentialCounts:
    return ExponentialCounts.merge(exponential_parts(values, scale), 0.0)


@pytest.mark.parametrize(
    ("quantile", "expected"),
    [
        # Scale 0: 4 values in (1, 2], 4 in (2, 4]; halfway in logarithm is the geometric mean.
        (0.5, 2.0),
        (0.25, math.sqrt(2)),
        (0.75, math.sqrt(8)),
        (1.0, 4.0),
        (0.0, 1.0),
    ],
)
def test_exponential_buckets_calculated_by_hand(quantile: float, expected: float) -> None:
    counts = ExponentialCounts(0, 0, 0.0, {0: 4, 1: 4}, {})
    assert exponential_quantile(quantile, counts) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("positive", "negative", "quantile", "expected"),
    [
        ({}, {}, 0.0, -0.5),
        ({}, {}, 0.5, 0.0),
        ({}, {}, 1.0, 0.5),
        ({3: 10}, {}, 0.25, 0.25),
        ({}, {3: 10}, 0.75, -0.25),
        ({3: 10}, {3: 10}, 0.5, 0.0),
        ({}, {0: 10}, 0.25, -math.sqrt(2)),
    ],
)
def test_zero_and_negative_buckets(
    positive: dict[int, float], negative: dict[int, float], quantile: float, expected: float
) -> None:
    counts = ExponentialCounts(0, 10, 0.5, positive, negative)
    assert exponential_quantile(quantile, counts) == pytest.approx(expected)


def test_a_bucket_that_overlaps_the_zero_bucket_begins_at_its_end() -> None:
    counts = ExponentialCounts(0, 0, 3.0, {0: 1, 1: 1}, {})
    assert exponential_quantile(0.0, counts) == 3.0
    assert exponential_quantile(1.0, counts) == 4.0


@given(QUANTILES, SIGNED, SCALES)
def test_an_exponential_quantile_is_in_the_bucket_of_the_true_one(
    quantile: float, values: list[float], scale: int
) -> None:
    estimate = exponential_quantile(quantile, counted(values, scale), min(values), max(values))
    true = sorted(values)[max(0, math.ceil(quantile * len(values)) - 1)]
    base = 2.0 ** (2.0**-scale)
    assert estimate is not None
    assert min(values) <= estimate <= max(values)
    assert (estimate > 0) - (estimate < 0) == (true > 0) - (true < 0)
    if true:
        assert 1 / base - 1e-9 <= estimate / true <= base + 1e-9


@given(st.lists(QUANTILES, min_size=2).map(sorted), SIGNED, SCALES)
def test_exponential_quantiles_are_monotonic(
    quantiles: list[float], values: list[float], scale: int
) -> None:
    counts = counted(values, scale)
    estimates = [exponential_quantile(quantile, counts) for quantile in quantiles]
    for earlier, later in pairwise(estimates):
        assert earlier is not None
        assert later is not None
        assert later >= earlier - abs(earlier) * 1e-9


@given(SIGNED, SIGNED, SCALES, st.integers(0, 6))
def test_merged_scales_equal_counts_at_the_coarser_scale(
    coarse: list[float], fine: list[float], scale: int, steps: int
) -> None:
    parts = [*exponential_parts(coarse, scale), *exponential_parts(fine, scale + steps)]
    assert ExponentialCounts.merge(parts, 0.0) == counted(coarse + fine, scale)


@given(
    st.integers(-10, 20),
    st.dictionaries(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**63), max_size=5),
    st.dictionaries(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**63), max_size=5),
    QUANTILES,
)
def test_no_bucket_index_is_too_large(
    scale: int, positive: dict[int, float], negative: dict[int, float], quantile: float
) -> None:
    value = exponential_quantile(quantile, ExponentialCounts(scale, 1, 0.0, positive, negative))
    assert value is not None
    assert math.isfinite(value)
