"""`exporter.open_reader` opens a store of any backend by its URL, and cannot change it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from kit.batch_builder import BatchBuilder

import exporter
from exporter.backends import open_backend
from exporter.errors import BackendRefusedError, BackendUnavailableError, ConfigError


@pytest.fixture(params=["sqlite", "postgresql", "timescaledb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The connection string of a store with two points."""
    backend = request.param
    if backend == "sqlite":
        connection_string = f"sqlite:///{tmp_path / 'store.db'}"
    else:
        connection_string = request.getfixturevalue(f"{backend}_database")
    with closing(open_backend(backend, connection_string, max_memory_entries=1)) as store:
        store.start()
        BatchBuilder().gauge("level", [(10, 1.5), (20, 2.5)]).write(store)
    return connection_string


def test_a_reader_reads_what_another_process_wrote(url: str) -> None:
    with exporter.open_reader(url) as reader:
        rows = reader.query_historical_metrics(metric_name="level")
        [row] = reader.aggregate("level", aggregation="max")
    assert [(row["timestamp"], row["value"]) for row in rows] == [(20.0, 2.5), (10.0, 1.5)]
    assert (row["timestamp"], row["value"]) == (10.0, 2.5)


def test_the_store_is_closed_at_the_end(url: str) -> None:
    with exporter.open_reader(url) as reader:
        assert reader.list_metrics()
    with pytest.raises(BackendRefusedError, match="not open"):
        reader.list_metrics()


def test_a_store_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "missing.db"
    with pytest.raises(BackendRefusedError), exporter.open_reader(f"sqlite:///{path}"):
        pass
    assert not path.exists()


@pytest.mark.parametrize(
    ("connection_string", "error"),
    [
        ("mysql://localhost/metrics", ConfigError),
        ("postgresql://127.0.0.1:1/metrics", BackendUnavailableError),
        ("host=127.0.0.1 port=1 dbname=metrics", BackendUnavailableError),
    ],
)
def test_the_connection_string_selects_the_backend(
    connection_string: str, error: type[Exception]
) -> None:
    with pytest.raises(error), exporter.open_reader(connection_string):
        pass
