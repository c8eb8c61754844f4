"""The bounded cache of known series; see `exporter.series_cache`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import xxhash

from exporter.model import Series
from exporter.series_cache.entries import (
    CLUSTER_ID_ATTRIBUTES,
    NODE_ID_ATTRIBUTES,
    Fragments,
    MetricEntry,
    ResourceEntry,
    cluster_or_node_id,
)

_SIGN_BIT: Final = 1 << 63
# Attributes and other texts count as one more entry for every 256 bytes.
_BYTES_PER_ENTRY: Final = 256


class SeriesRefusedError(Exception):
    """The cache refuses a series; the message says why."""


class CacheTransaction:
    """What one request adds to the cache, so that all of it can be rolled back.

    Attributes:
        new_series: definitions of series that are new, or whose definition changed.
        added: keys that were added, in one list for each mapping. One request can add a hundred
            thousand keys, so no object is kept for each.
        previous_fingerprints: series whose definition changed, with the fingerprint before.
        new_series_ids: series that were unknown before.
        extra_entries: resources with the entries counted for large texts.
    """

    __slots__ = ("added", "extra_entries", "new_series", "new_series_ids", "previous_fingerprints")

    def __init__(self) -> None:
        self.new_series: list[Series] = []
        self.added: list[tuple[MutableMapping[Any, Any], list[Any]]] = []
        self.previous_fingerprints: list[tuple[int, int]] = []
        self.new_series_ids: list[int] = []
        self.extra_entries: list[tuple[ResourceEntry, int]] = []

    def add_key(self, mapping: MutableMapping[Any, Any], key: Any) -> None:
        """Record that the key was added to the mapping."""
        if not self.added or self.added[-1][0] is not mapping:
            self.added.append((mapping, []))
        self.added[-1][1].append(key)


class SeriesCache:
    """Bounded cache of known series; evicts the least recently used resources.

    Args:
        max_entries: upper bound of resources, scopes, metrics and attribute sets together. A
            sender that shuffles its attributes uses several attribute sets for each series, and
            large texts count for several entries. The definition of an evicted series is emitted
            once more with its next point; nothing else depends on the bound.
        max_series: how many series may be known at a time; further series are refused. None for
            no limit besides `max_entries`.
        cluster_id_attributes: attribute names for cluster_id, in order of precedence; see
            `cluster_or_node_id`.
        node_id_attributes: the same for node_id.
    """

    def __init__(
        self,
        *,
        max_entries: int = 1_000_000,
        max_series: int | None = None,
        cluster_id_attributes: Sequence[str] = CLUSTER_ID_ATTRIBUTES,
        node_id_attributes: Sequence[str] = NODE_ID_ATTRIBUTES,
    ) -> None:
        self._max_entries = max_entries
        self._max_series = max_series
        self._cluster_id_attributes = tuple(cluster_id_attributes)
        self._node_id_attributes = tuple(node_id_attributes)
        self._resources: OrderedDict[tuple[Fragments, str], ResourceEntry] = OrderedDict()
        # Series id -> fingerprint: hash of the identity (upper 64 bits) and of the fields that do
        # not identify (lower 64 bits). The upper half detects a collision of ids, the lower half a
        # changed description or schema URL.
        self._fingerprints: dict[int, int] = {}
        self._entries = 0
        self._transaction = CacheTransaction()
        # Length of a ResourceMetrics message -> possible (start, end) offsets of its resource and
        # its schema URL: finds the resource of a message without parsing the message.
        self.resource_offsets: dict[int, list[tuple[int, int, str]]] = {}

    def __len__(self) -> int:
        """How many entries the cache holds: resources, scopes, metrics and attribute sets."""
        return self._entries

    def has_series(self, series_id: int) -> bool:
        """Whether the definition of this series was emitted and not invalidated since."""
        return series_id in self._fingerprints

    def get_resource(self, fragments: Fragments, schema_url: str) -> ResourceEntry | None:
        """The entry of a known resource, which becomes the most recently used one."""
        entry = self._resources.get((fragments, schema_url))
        if entry is not None:
            self._resources.move_to_end((fragments, schema_url))
        return entry

    def add_entry(self, mapping: MutableMapping[Any, Any], key: Any, entry: Any) -> None:
        """Add an entry to a mapping of this cache; a roll-back removes it."""
        mapping[key] = entry
        self._entries += 1
        self._transaction.add_key(mapping, key)

    def add_resource(self, fragments: Fragments, schema_url: str, entry: ResourceEntry) -> None:
        """Add a resource under the bytes that it was received with."""
        self.add_entry(self._resources, (fragments, schema_url), entry)
        self.count_text(entry, sum(map(len, fragments)) + len(entry.json))

    def add_series_id(self, metric: MetricEntry, attributes: bytes, series_id: int) -> None:
        """Add a series id under the attributes as one sender encodes them."""
        self.add_entry(metric.series_ids, attributes, series_id)
        self.count_text(metric.scope.resource, len(attributes))

    def count_text(self, resource: ResourceEntry, size_bytes: int) -> None:
        """Count a text of this size, held below the resource, as extra entries if it is large."""
        entries = size_bytes // _BYTES_PER_ENTRY
        if entries:
            resource.extra_entries += entries
            self._entries += entries
            self._transaction.extra_entries.append((resource, entries))

    def count_template_points(self, change: int) -> None:
        """Count points that the templates or series sequences of a resource gained or lost."""
        self._entries += change

    @contextmanager
    def transaction(self) -> Iterator[CacheTransaction]:
        """Collect what is added to the cache; an exception rolls all of it back.

        A request that is refused halfway must not leave a series in the cache, because the
        definition of that series was never emitted.
        """
        self._transaction = transaction = CacheTransaction()
        entries = self._entries
        try:
            yield transaction
        except BaseException:
            self._roll_back(transaction)
            self._entries = entries
            raise
        finally:
            # Start a new transaction object; the caller still uses the old one.
            self._transaction = CacheTransaction()
        self._evict()

    def register(self, metric: MetricEntry, attributes: str, texts: Mapping[str, str]) -> int:
        """The id of the series with these attributes; emits its definition if it is new.

        Args:
            metric: the metric that the point belongs to.
            attributes: the attributes of the point as canonical JSON.
            texts: the same attributes, each value as text.

        Returns:
            The series id.

        Raises:
            SeriesRefusedError: another identity has the same 64-bit hash, or `max_series` are
                known.
        """
        identity = metric.identity(attributes)
        unsigned = xxhash.xxh3_64_intdigest(identity)
        series_id = unsigned - (1 << 64) if unsigned & _SIGN_BIT else unsigned
        identity_hash = xxhash.xxh3_64_intdigest(identity, seed=1)
        scope = metric.scope
        described = [metric.key.description, scope.resource.schema_url, scope.schema_url]
        definition_hash = xxhash.xxh3_64_intdigest("\0".join(described).encode())
        fingerprint = identity_hash << 64 | definition_hash
        known = self._fingerprints.get(series_id)
        if known is not None and known >> 64 != identity_hash:
            raise SeriesRefusedError("another series has the same 64-bit id (hash collision)")
        if known == fingerprint:
            return series_id
        if known is None:
            if self._max_series is not None and len(self._fingerprints) >= self._max_series:
                raise SeriesRefusedError(
                    f"the limit of {self._max_series} series is reached (max_series)"
                )
            self._transaction.new_series_ids.append(series_id)
        else:
            self._transaction.previous_fingerprints.append((series_id, known))
        self._fingerprints[series_id] = fingerprint
        self._transaction.new_series.append(self._define(series_id, metric, attributes, texts))
        return series_id

    @contextmanager
    def without_series_limit(self) -> Iterator[None]:
        """Ignore `max_series`: for replayed requests, which were accepted before."""
        limit, self._max_series = self._max_series, None
        try:
            yield
        finally:
            self._max_series = limit

    def invalidate(self, series_ids: Collection[int]) -> None:
        """Emit the definitions of these series again with their next points.

        Needed when a backend deleted these series, or did not store the batch that defined them.
        """
        invalid = frozenset(series_ids)
        if not invalid:
            return
        for resource in self._resources.values():
            sequences = resource.series_sequences
            self.count_template_points(-sum(each.point_count for each in sequences.values()))
            sequences.clear()
            for metric in resource.metrics():
                stale = [raw for raw, known in metric.series_ids.items() if known in invalid]
                for raw in stale:
                    del metric.series_ids[raw]
                self._entries -= len(stale)
                if stale:
                    self.count_template_points(-resource.template_points)
                    resource.template_caches.clear()
        for series_id in invalid:
            self._fingerprints.pop(series_id, None)

    def clear(self) -> None:
        """Remove everything; each definition is emitted again with the next point of its series."""
        self._resources.clear()
        self._fingerprints.clear()
        self.resource_offsets.clear()
        self._entries = 0

    def _define(
        self, series_id: int, metric: MetricEntry, attributes: str, texts: Mapping[str, str]
    ) -> Series:
        key, scope, resource = metric.key, metric.scope, metric.scope.resource
        return Series(
            series_id=series_id,
            metric_name=key.name,
            metric_type=key.type,
            unit=key.unit,
            description=key.description,
            temporality=key.temporality,
            is_monotonic=key.is_monotonic,
            cluster_id=cluster_or_node_id(self._cluster_id_attributes, texts, resource.attributes),
            node_id=cluster_or_node_id(self._node_id_attributes, texts, resource.attributes),
            service_name=resource.attributes.get("service.name"),
            resource=resource.json,
            resource_schema_url=resource.schema_url,
            scope=scope.json,
            scope_schema_url=scope.schema_url,
            attributes=attributes,
        )

    def _roll_back(self, transaction: CacheTransaction) -> None:
        for mapping, keys in transaction.added:
            for key in keys:
                mapping.pop(key, None)
        # In reverse, because a series can change twice in one request: its first fingerprint is
        # restored last. A series that was unknown is deleted whatever changed later.
        for series_id, fingerprint in reversed(transaction.previous_fingerprints):
            self._fingerprints[series_id] = fingerprint
        for series_id in transaction.new_series_ids:
            del self._fingerprints[series_id]
        for resource, entries in transaction.extra_entries:
            resource.extra_entries -= entries

    def _evict(self) -> None:
        # A resource that fills the cache alone is evicted too: the bound has priority over speed.
        while self._entries > self._max_entries and self._resources:
            _, resource = self._resources.popitem(last=False)
            self._entries -= 1 + len(resource.scopes) + resource.template_points
            self._entries -= resource.extra_entries
            for metric in resource.metrics():
                self._entries -= 1 + len(metric.series_ids)
                for series_id in metric.series_ids.values():
                    self._fingerprints.pop(series_id, None)
