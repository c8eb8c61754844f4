"""Which whole buckets of a roll-up are in a range, and when reading them pays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.backends.hypertable_catalog import RollupInfo
from exporter.query.rollup_planner import whole_buckets
from exporter.query.times import TimeRange

HOUR = 3_600_000_000
DAY = 24 * HOUR
DAILY, HOURLY = RollupInfo("daily", DAY, "entries"), RollupInfo("hourly", HOUR, "entries")


@pytest.mark.parametrize(
    ("rollup", "start", "end", "bucket", "watermark", "expected"),
    [
        # The buckets of the answer consist of whole buckets.
        (HOURLY, None, None, HOUR, None, (None, None)),
        (HOURLY, None, None, 24 * HOUR, None, (None, None)),
        (HOURLY, None, None, None, None, (None, None)),
        (HOURLY, None, None, HOUR // 2, None, None),
        (HOURLY, None, None, 3 * HOUR // 2, None, None),
        (DAILY, None, None, 36 * HOUR, None, None),
        # The ends are cut inwards to whole buckets.
        (HOURLY, HOUR + 1, 50 * HOUR - 1, None, None, (2 * HOUR, 49 * HOUR)),
        (HOURLY, HOUR, 50 * HOUR, None, None, (HOUR, 50 * HOUR)),
        (DAILY, 1, None, DAY, 100 * DAY, (DAY, 100 * DAY)),
        # Only what is materialized counts.
        (HOURLY, None, 50 * HOUR, None, 40 * HOUR, (None, 40 * HOUR)),
        (HOURLY, None, None, None, 40 * HOUR, (None, 40 * HOUR)),
        (HOURLY, None, 30 * HOUR, None, 40 * HOUR, (None, 30 * HOUR)),
        (HOURLY, HOUR, None, None, -DAY, None),
        # Few buckets are read only if they are the whole range.
        (HOURLY, HOUR, 25 * HOUR, None, None, (HOUR, 25 * HOUR)),
        (HOURLY, HOUR + 1, 25 * HOUR, None, None, None),
        (HOURLY, HOUR + 1, 26 * HOUR, None, None, (2 * HOUR, 26 * HOUR)),
        (DAILY, DAY, 2 * DAY, None, 9 * DAY, (DAY, 2 * DAY)),
        (DAILY, DAY, 2 * DAY, None, DAY, None),
        (HOURLY, HOUR, HOUR, None, None, None),
        (HOURLY, HOUR + 1, HOUR + 2, None, None, None),
    ],
)
def test_whole_buckets(
    rollup: RollupInfo,
    start: int | None,
    end: int | None,
    bucket: int | None,
    watermark: int | None,
    expected: tuple[int | None, int | None] | None,
) -> None:
    found = whole_buckets(rollup, TimeRange(start, end), bucket, watermark)
    assert found == (None if expected is None else TimeRange(*expected))


TIMES = st.none() | st.integers(0, 400 * DAY)


@given(rollup=st.sampled_from([DAILY, HOURLY]), ends=st.tuples(TIMES, TIMES), watermark=TIMES)
def test_the_covered_range_is_within_the_question_and_the_watermark_and_starts_and_ends_at_buckets(
    rollup: RollupInfo, ends: tuple[int | None, int | None], watermark: int | None
) -> None:
    asked = TimeRange(*ends)
    found = whole_buckets(rollup, asked, None, watermark)
    if found is None:
        return
    start, end = found.start_micros, found.end_micros
    assert (start is None) == (asked.start_micros is None)
    assert start is None or start % rollup.bucket_micros == 0 <= start - (asked.start_micros or 0)
    bounds = [bound for bound in (asked.end_micros, watermark) if bound is not None]
    assert (end is None) == (not bounds)
    assert end is None or end % rollup.bucket_micros == 0 <= min(bounds) - end
    assert start is None or end is None or start < end
