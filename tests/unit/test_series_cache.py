from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Series
from exporter.series_cache import (
    MetricEntry,
    MetricKey,
    ResourceEntry,
    ScopeEntry,
    SeriesCache,
    identity_key,
)

KEY = MetricKey("cpu", "gauge", "1", "how busy", None, None)
TEXT = st.text(max_size=5)
KEYS = st.builds(
    MetricKey,
    TEXT,
    st.sampled_from(["gauge", "sum"]),
    TEXT,
    st.just(""),
    st.sampled_from([None, "delta", "cumulative"]),
    st.sampled_from([None, False, True]),
)


def metric_in(cache: SeriesCache, resource: str = "{}", key: MetricKey = KEY) -> MetricEntry:
    entry = ResourceEntry(resource, "", {}, None)
    cache.add_resource((resource.encode(),), "", entry)
    scope = ScopeEntry(entry, '{"name":"s"}', "", None)
    cache.add_entry(entry.scopes, ((b"",), ""), scope)
    metric = MetricEntry(scope, key, None)
    cache.add_entry(scope.metrics, key, metric)
    return metric


def register(cache: SeriesCache, metric: MetricEntry, attributes: str) -> tuple[int, list[Series]]:
    with cache.transaction() as transaction:
        series_id = cache.register(metric, attributes, {})
        assert series_id is not None
        cache.add_series_id(metric, attributes.encode(), series_id)
    return series_id, transaction.new_series


def test_a_series_definition_is_emitted_once() -> None:
    cache = SeriesCache()
    metric = metric_in(cache)
    first, new = register(cache, metric, '{"a":1}')
    assert [series.series_id for series in new] == [first]
    assert new[0].attributes == '{"a":1}'
    again, new = register(cache, metric, '{"a":1}')
    assert (again, new) == (first, [])


def test_a_refused_request_is_rolled_back() -> None:
    cache = SeriesCache()
    metric = metric_in(cache)
    with suppress(ZeroDivisionError), cache.transaction():
        series_id = cache.register(metric, "{}", {})
        assert series_id is not None
        cache.add_series_id(metric, b"{}", series_id)
        raise ZeroDivisionError
    assert len(cache) == 3  # what was there before
    assert metric.series_ids == {}
    _, new = register(cache, metric, "{}")
    assert len(new) == 1


def test_a_refused_request_restores_descriptions() -> None:
    cache = SeriesCache()
    metric, better = metric_in(cache), metric_in(cache, key=KEY._replace(description="better"))
    register(cache, metric, "{}")
    with suppress(ZeroDivisionError), cache.transaction():
        cache.register(better, "{}", {})  # known before, now changed
        new = cache.register(better, '{"a":1}', {})
        assert cache.register(metric, '{"a":1}', {}) == new  # emitted twice
        raise ZeroDivisionError
    assert register(cache, metric, "{}")[1] == []
    assert len(register(cache, metric, '{"a":1}')[1]) == 1


def test_after_clear_each_definition_is_emitted_again() -> None:
    cache = SeriesCache(max_series=1)
    before, _ = register(cache, metric_in(cache), "{}")
    cache.clear()
    assert len(cache) == 0
    after, new = register(cache, metric_in(cache), "{}")
    assert after == before
    assert len(new) == 1


def test_a_new_description_is_emitted_under_the_same_id() -> None:
    cache = SeriesCache()
    before, _ = register(cache, metric_in(cache), "{}")
    after, new = register(cache, metric_in(cache, key=KEY._replace(description="better")), "{}")
    assert after == before
    assert [series.description for series in new] == ["better"]


def test_invalidated_series_are_emitted_again() -> None:
    cache = SeriesCache()
    metric = metric_in(cache)
    kept, _ = register(cache, metric, '{"a":1}')
    invalid, _ = register(cache, metric, '{"a":2}')
    cache.invalidate([invalid])
    assert register(cache, metric, '{"a":1}') == (kept, [])
    assert len(register(cache, metric, '{"a":2}')[1]) == 1


def test_the_least_recently_used_resource_is_evicted_first() -> None:
    cache = SeriesCache(max_entries=8)  # a resource, its scope, its metric, one attribute set
    old, new = metric_in(cache, '{"r":1}'), metric_in(cache, '{"r":2}')
    register(cache, old, "{}")
    register(cache, new, "{}")
    assert cache.get_resource((b'{"r":1}',), "") is not None  # used again, so {"r":2} is the oldest
    register(cache, metric_in(cache, '{"r":3}'), "{}")
    assert len(cache) == 8
    assert cache.get_resource((b'{"r":2}',), "") is None
    assert cache.get_resource((b'{"r":1}',), "") is not None


def test_the_cache_is_bounded_even_if_one_resource_fills_it() -> None:
    cache = SeriesCache(max_entries=10)
    for round_ in range(5):
        metric = metric_in(cache)
        with cache.transaction() as transaction:
            for at in range(20):
                attributes = f'{{"n":{round_ * 20 + at}}}'
                series_id = cache.register(metric, attributes, {})
                assert series_id is not None
                cache.add_series_id(metric, attributes.encode(), series_id)
        assert len(transaction.new_series) == 20
        assert len(cache) <= 10


def test_resources_without_points_are_bounded() -> None:
    cache = SeriesCache(max_entries=10)
    for at in range(100):
        with cache.transaction():
            metric_in(cache, f'{{"r":{at}}}')
        assert len(cache) <= 10
    assert (
        sum(cache.get_resource((f'{{"r":{at}}}'.encode(),), "") is not None for at in range(100))
        == 3
    )


def test_large_texts_count_as_several_entries_until_evicted() -> None:
    cache = SeriesCache(max_entries=100)
    for at in range(20):
        with cache.transaction():
            metric = metric_in(cache, f'{{"r":{at}}}')
            raw = bytes(30 * 256)  # counts as thirty entries
            cache.add_series_id(metric, raw, cache.register(metric, f'{{"a":{at}}}', {}))
        assert len(cache) == min(34 * (at + 1), 68)  # a third would be more than 100


def test_a_roll_back_includes_the_entries_of_large_texts() -> None:
    cache = SeriesCache()
    metric = metric_in(cache)
    before = len(cache)
    with suppress(ZeroDivisionError), cache.transaction():
        cache.add_series_id(metric, bytes(5_000), 1)
        raise ZeroDivisionError
    assert len(cache) == before
    assert metric.scope.resource.extra_entries == 0


def test_an_evicted_series_is_emitted_again() -> None:
    cache = SeriesCache(max_entries=5)
    first, _ = register(cache, metric_in(cache, '{"r":1}'), "{}")
    register(cache, metric_in(cache, '{"r":2}'), "{}")
    again, new = register(cache, metric_in(cache, '{"r":1}'), "{}")
    assert [series.series_id for series in new] == [first] == [again]


@pytest.mark.parametrize(
    ("texts", "resource", "cluster_id", "node_id"),
    [
        ({}, {}, "default", "default"),
        ({"cluster_id": "point"}, {"k8s.cluster.name": "resource"}, "point", "default"),
        ({}, {"k8s.cluster.uid": "u", "deployment.environment.name": "prod"}, "u", "default"),
        ({}, {"k8s.cluster.name": "", "deployment.environment.name": "prod"}, "prod", "default"),
        ({"host.name": "point"}, {"host.id": "i", "service.instance.id": "s"}, "default", "i"),
        ({"node_id": "n"}, {"host.name": "h"}, "default", "n"),
    ],
)
def test_cluster_and_node(
    texts: dict[str, str], resource: dict[str, str], cluster_id: str, node_id: str
) -> None:
    cache = SeriesCache()
    entry = ResourceEntry("{}", "", resource, None)
    metric = MetricEntry(ScopeEntry(entry, "{}", "", None), KEY, None)
    with cache.transaction() as transaction:
        cache.register(metric, "{}", texts)
    (series,) = transaction.new_series
    assert (series.cluster_id, series.node_id) == (cluster_id, node_id)


@given(KEYS, TEXT, TEXT, TEXT, KEYS, TEXT, TEXT, TEXT)
def test_identity_keys_are_equal_only_for_equal_identities(
    key: MetricKey, a: str, b: str, c: str, other: MetricKey, x: str, y: str, z: str
) -> None:
    same = (key, a, b, c) == (other, x, y, z)
    assert (identity_key(key, a, b, c) == identity_key(other, x, y, z)) == same


def test_a_series_id_does_not_change_between_versions() -> None:
    # Databases contain ids of earlier versions, so this value must never change.
    cache = SeriesCache()
    series_id, _ = register(cache, metric_in(cache), '{"host":"a"}')
    assert series_id == -6660829267390834289
