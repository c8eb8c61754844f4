"""How many threads serve, by what each of them waits for."""

import pytest

from exporter.receiver import workers_for


@pytest.mark.parametrize(
    ("seconds_to_sync", "workers"), [(None, 2), (0.0003, 4), (0.0019, 4), (0.002, 16), (0.05, 16)]
)
def test_more_threads_where_each_waits_longer(seconds_to_sync: float | None, workers: int) -> None:
    assert workers_for(seconds_to_sync) == workers
