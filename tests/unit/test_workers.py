"""The number of workers, by how long a sync to disk takes."""

import pytest

from exporter.receiver import workers_for


@pytest.mark.parametrize(
    ("seconds_to_sync", "workers"), [(None, 2), (0.0003, 4), (0.0019, 4), (0.002, 16), (0.05, 16)]
)
def test_a_slower_disk_gets_more_workers(seconds_to_sync: float | None, workers: int) -> None:
    assert workers_for(seconds_to_sync) == workers
