"""Points with equal keys, definitions that change, and ids that two series share."""

from __future__ import annotations

import logging

import pytest
from kit.backends.dict_store import definition
from kit.backends.kinds import Kind
from kit.backends.samples import (
    NOW,
    SECOND,
    batch_of,
    exemplar,
    flood,
    histogram,
    point,
    series,
    summary,
)
from kit.backends.stored_rows import (
    count,
    count_all_rows,
    stored_histograms,
    stored_points,
    stored_series,
    stored_summaries,
)

from exporter.backends.base import Backend
from exporter.errors import BackendRefusedError
from exporter.model import Batch, WriteResult

MICROS = NOW // 1_000
OTHER_IDENTITIES = {
    "name": {"metric_name": "system.memory.usage"},
    "type": {"metric_type": "sum"},
    "unit": {"unit": "By"},
    "temporality": {"temporality": "delta"},
    "monotonicity": {"is_monotonic": False},
    "resource": {"resource": '{"host.name":"host-2"}'},
    "scope": {"scope": '{"attributes":{},"name":"other","version":""}'},
    "attributes": {"attributes": '{"cpu":99}'},
}


@pytest.fixture
def replacing(backend: Backend, kind: Kind) -> Backend:
    if not kind.replaces:
        pytest.skip("a second point of a series and time is stored as a second row")
    return backend


@pytest.fixture
def adding(backend: Backend, kind: Kind) -> Backend:
    if kind.replaces:
        pytest.skip("a second point of a series and time replaces the first")
    return backend


def test_a_repeated_point_is_stored_twice(adding: Backend) -> None:
    batch = batch_of(
        point(1, value=1.0),
        point(1, value=2.0),
        histograms=(histogram(1), histogram(1)),
        summaries=(summary(1), summary(1)),
        exemplars=(exemplar(1), exemplar(1)),
    )
    assert adding.write(batch) == WriteResult(stored=6)
    assert adding.write(batch_of(point(1, value=3.0))) == WriteResult(stored=1)
    values = adding.fetch("SELECT value FROM system_metrics ORDER BY value")
    assert values == [(1.0,), (2.0,), (3.0,)]
    assert count_all_rows(adding) == 9


def test_a_second_write_of_a_batch_changes_nothing(replacing: Backend) -> None:
    batch = Batch(
        new_series=(series(1),),
        points=flood(5_000),
        histograms=(histogram(1),),
        summaries=(summary(1),),
        exemplars=(exemplar(1),),
    )
    first = replacing.write(batch)
    before = count_all_rows(replacing), stored_points(replacing)
    assert replacing.write(batch) == first == WriteResult(stored=5_002)
    assert (count_all_rows(replacing), stored_points(replacing)) == before


def test_a_point_of_the_same_series_and_microsecond_replaces(replacing: Backend) -> None:
    replacing.write(
        batch_of(
            point(1, value=1.0),
            point(2, value=2.0),
            histograms=(histogram(3, sum=1.0),),
            summaries=(summary(4, sum=1.0),),
        )
    )
    later = batch_of(
        point(1, NOW + 999, value=10.0),
        histograms=(histogram(3, sum=10.0, min=None),),
        summaries=(summary(4, sum=10.0, quantiles=(), values=()),),
    )
    assert replacing.write(later) == WriteResult(stored=3)
    assert stored_points(replacing) == {(MICROS, 1): (10.0, None), (MICROS, 2): (2.0, None)}
    [one] = stored_histograms(replacing).values()
    assert (one["sum"], one["min"]) == (10.0, None)
    [other] = stored_summaries(replacing).values()
    assert (other["sum"], other["quantiles"]) == (10.0, [])


def test_the_last_equal_key_of_a_batch_is_stored_and_counts_once(replacing: Backend) -> None:
    batch = batch_of(
        point(1, NOW + 500, value=1.0),
        point(2, value=5.0),
        point(1, NOW + 100, value=2.0),
        point(1, NOW + 900, value=3.0),
        histograms=(histogram(3, sum=1.0), histogram(3, sum=2.0)),
        summaries=(summary(4, sum=1.0), summary(4, sum=2.0)),
    )
    assert replacing.write(batch) == WriteResult(stored=4)
    assert stored_points(replacing) == {(MICROS, 1): (3.0, None), (MICROS, 2): (5.0, None)}
    assert [one["sum"] for one in stored_histograms(replacing).values()] == [2.0]
    assert [one["sum"] for one in stored_summaries(replacing).values()] == [2.0]


def test_points_of_one_series_and_time_with_other_starts_are_several(backend: Backend) -> None:
    starts = (0, NOW - 2 * SECOND, NOW - SECOND)
    batch = batch_of(
        *(point(1, value=float(number), start=start) for number, start in enumerate(starts)),
        histograms=tuple(histogram(2, start_time_unix_nano=start) for start in starts),
        summaries=tuple(summary(3, start_time_unix_nano=start) for start in starts),
    )
    assert backend.write(batch) == WriteResult(stored=9)
    backend.write(batch_of(point(1, value=5.0, start=NOW - 3 * SECOND)))
    assert {value for value, _ in stored_points(backend).values()} == {0.0, 1.0, 2.0, 5.0}
    assert len(stored_histograms(backend)) == len(stored_summaries(backend)) == 3


def test_half_of_a_large_batch_replaces_and_half_is_new(replacing: Backend) -> None:
    replacing.write(Batch(points=flood(10_000)))
    later = flood(10_000, time=NOW + 50_000_000)
    later.value[:] = -later.value
    assert replacing.write(Batch(points=later)) == WriteResult(stored=10_000)
    assert count(replacing) == 15_000
    assert replacing.fetch("SELECT count(*) FROM system_metrics WHERE value < 0") == [(9_999,)]


def test_exemplars_of_one_time_are_stored_and_equal_ones_once(replacing: Backend) -> None:
    one = exemplar(1)
    different = (
        exemplar(1, value=9.0),
        exemplar(1, trace_id="f" * 32),
        exemplar(1, attributes="{}"),
    )
    replacing.write(Batch(exemplars=(one, *different, one)))
    replacing.write(Batch(exemplars=(one,)))
    assert count(replacing, "metric_exemplars") == 4


def test_a_stored_series_takes_the_newer_description_and_schema_urls(backend: Backend) -> None:
    first = series(1, description="old", resource_schema_url="https://example.org/1")
    backend.write(Batch(new_series=(first, series(2))))
    later = series(
        1,
        description="new",
        resource_schema_url="https://example.org/2",
        scope_schema_url="https://example.org/3",
    )
    backend.write(Batch(new_series=(later,)))
    assert stored_series(backend) == {1: definition(later), 2: definition(series(2))}


def test_the_last_description_of_a_batch_is_stored(backend: Backend) -> None:
    backend.write(Batch(new_series=(series(1, description="a"), series(1, description="b"))))
    assert stored_series(backend)[1]["description"] == "b"


def test_first_seen_does_not_change(backend: Backend) -> None:
    backend.write(Batch(new_series=(series(1),)))
    first_seen = backend.fetch("SELECT first_seen FROM metric_series")
    backend.write(Batch(new_series=(series(1, description="new"),)))
    assert backend.fetch("SELECT first_seen FROM metric_series") == first_seen


def test_many_series_at_once_and_again(backend: Backend) -> None:
    many = tuple(series(index, description=f"number {index}") for index in range(5_000))
    backend.write(Batch(new_series=many[:3_000]))
    backend.write(Batch(new_series=many))
    assert count(backend, "metric_series") == 5_000
    assert stored_series(backend)[4_321] == definition(many[4_321])


@pytest.mark.parametrize("different", OTHER_IDENTITIES.values(), ids=OTHER_IDENTITIES)
def test_a_colliding_id_is_refused_until_the_next_start(
    backend: Backend, caplog: pytest.LogCaptureFixture, different: dict[str, object]
) -> None:
    backend.write(batch_of(point(1), new_series=(series(1), series(2))))
    with caplog.at_level(logging.ERROR):
        for seconds in (1, 2):
            colliding = batch_of(
                point(1, NOW + seconds * SECOND),
                point(2, NOW + seconds * SECOND),
                point(1, NOW + (seconds + 2) * SECOND),
                new_series=(series(1, **different), series(2, description="newer")),
                histograms=(histogram(1),),
                summaries=(summary(1),),
                exemplars=(exemplar(1), exemplar(2, NOW + seconds * SECOND)),
            )
            assert backend.write(colliding) == WriteResult(stored=1, refused=4)
    assert backend.write(batch_of(point(1, NOW + 5 * SECOND))) == WriteResult(stored=0, refused=1)

    assert set(stored_points(backend)) == {
        (MICROS, 1),
        (MICROS + 1_000_000, 2),
        (MICROS + 2_000_000, 2),
    }
    assert count(backend, "metric_histograms") == count(backend, "metric_summaries") == 0
    assert count(backend, "metric_exemplars") == 2
    assert stored_series(backend)[1] == definition(series(1))
    assert stored_series(backend)[2]["description"] == "newer"
    [record] = [one for one in caplog.records if one.levelno == logging.ERROR]
    for value in (1, series(1).metric_name, *different.values()):
        assert str(value) in record.getMessage()


def test_two_series_of_one_id_in_one_batch_are_both_refused(backend: Backend) -> None:
    colliding = batch_of(
        point(1), point(2), new_series=(series(1), series(1, unit="By"), series(2))
    )
    assert backend.write(colliding) == WriteResult(stored=1, refused=1)
    assert stored_series(backend) == {1: definition(series(1)), 2: definition(series(2))}


def test_derived_columns_are_not_part_of_the_identity(backend: Backend) -> None:
    # The configuration says which attributes name the cluster, and may change.
    backend.write(Batch(new_series=(series(1),)))
    again = batch_of(point(1), new_series=(series(1, cluster_id="east", node_id="n"),))
    assert backend.write(again) == WriteResult(stored=1)


def test_a_failed_write_stores_nothing(backend: Backend, kind: Kind) -> None:
    backend.write(batch_of(point(1), new_series=(series(1),)))
    impossible = Batch(
        new_series=(series(1, description="newer"), series(2)),
        points=flood(10_000),
        histograms=(histogram(1), histogram(2, count=2**64 - 1)),
        exemplars=(exemplar(1),),
    )
    with pytest.raises(BackendRefusedError, match="storing a batch failed"):
        backend.write(impossible)
    assert count_all_rows(backend) == 1
    assert stored_series(backend) == {1: definition(series(1))}
    possible = Batch(impossible.new_series, impossible.points, (histogram(1),))
    assert backend.write(possible) == WriteResult(stored=10_001)
    again = 1  # one of them is the first point again
    assert count_all_rows(backend) == 10_002 - (again if kind.replaces else 0)
