"""The newest points of many series, with compressed chunks in the hypertable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

import psycopg2
import pytest
from engines.statements import execute
from kit.backends.samples import NOW, SECOND, batch_of, point, series

from exporter.backends.timescaledb import HypertableOptions, timescaledb_backend
from exporter.query import Reader

DAY: Final = 86_400 * SECOND
STEPS: Final = 3
# The number of series of each cluster; the first has too few for windows.
CLUSTERS: Final = {"few": 2, "some": 250, "many": 350}
TIMES: Final = [
    NOW - day * DAY - hours * 3_600 * SECOND - step * 20 * SECOND
    for day in range(2)
    for hours in (0, 3)
    for step in range(STEPS)
]
Row = tuple[float, int]  # the time, and the attribute with the series' id
COMPRESS: Final = """
    SELECT compress_chunk(chunk)
    FROM show_chunks('system_metrics', older_than => to_timestamp(%s)) AS chunk"""


def ids_of(cluster: str) -> range:
    names = list(CLUSTERS)
    first = sum(CLUSTERS[name] for name in names[: names.index(cluster)])
    return range(first, first + CLUSTERS[cluster])


@contextmanager
def reading(dsn: str, older_than: int, chunks: int) -> Iterator[Reader]:
    """All series at all times, in two chunks; chunks older than a time are compressed."""
    backend = timescaledb_backend(
        dsn, options=HypertableOptions(enable_compression=True, rollups=False)
    )
    backend.start()
    try:
        everything = [(cluster, number) for cluster in CLUSTERS for number in ids_of(cluster)]
        defined = tuple(series(number, cluster_id=cluster) for cluster, number in everything)
        rows = (point(number, time) for _, number in everything for time in TIMES)
        backend.write(batch_of(*rows, new_series=defined))
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            assert len(execute(connection, COMPRESS, (older_than // SECOND,))) == chunks
        yield Reader(backend)
    finally:
        backend.close()


def newest(clusters: list[str], limit: int) -> list[Row]:
    rows = [
        (round(time / SECOND, 3), number)
        for cluster in clusters
        for number in ids_of(cluster)
        for time in TIMES
    ]
    rows.sort(reverse=True)
    return rows[:limit]


@pytest.mark.parametrize(
    ("older_than", "chunks"),
    [pytest.param(NOW - DAY // 2, 1, id="older"), pytest.param(NOW + DAY, 2, id="all")],
)
def test_the_newest_points_come_from_all_chunks(
    timescaledb_database: str, older_than: int, chunks: int
) -> None:
    with reading(timescaledb_database, older_than, chunks) as reader:
        for cluster in [None, *CLUSTERS]:
            of = list(CLUSTERS) if cluster is None else [cluster]
            for limit in (1, CLUSTERS[of[-1]] * STEPS + 1, 10_000):
                rows = reader.query_historical_metrics(cluster_id=cluster, limit=limit)
                found = [(round(row["timestamp"], 3), row["attributes"]["cpu"]) for row in rows]
                assert found == newest(of, limit), (cluster, limit)
