"""A bounded memory of the series that were seen; see `exporter.intern`."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import xxhash

from exporter.intern.entries import MetricEntry, Pieces, ResourceEntry
from exporter.intern.locating import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES, locate
from exporter.intern.registration import Registration
from exporter.model import Series

__all__ = ["SeriesCache", "SeriesRefusedError"]

_SIGN_BIT: Final = 1 << 63
# Longer attributes, and other texts, count as so many entries more.
_BYTES_OF_AN_ENTRY: Final = 256


class SeriesRefusedError(Exception):
    """A series that cannot be taken; the message says why."""


class SeriesCache:
    """Bounded memory of the series seen; least recently used resources go first.

    Args:
        max_entries: how many resources, scopes, metrics and attribute sets are remembered
            together. A sender that shuffles its attributes takes several sets a series, and one of
            many KiB counts once for each. Forgetting costs a second definition, no more.
        cluster_id_attributes: where cluster_id is looked for: the first name among the point's
            attributes, then each among the resource's.
        node_id_attributes: likewise for node_id.
        max_series: how many series may be known at a time; further ones are refused. None for any
            number, which `max_entries` bounds still.
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
        self._resources: OrderedDict[tuple[Pieces, str], ResourceEntry] = OrderedDict()
        # Series id -> hash of the identity (upper 64 bits) and of the whole definition (lower):
        # tells a collision and a changed description apart from a series that is known.
        self._known: dict[int, int] = {}
        self._entries = 0
        self._registration = Registration()
        # Length of a ResourceMetrics message -> where its resource may stand, and its schema URL:
        # what it takes to find the resource of a message without parsing it.
        self.places_of_resource: dict[int, list[tuple[int, int, str]]] = {}

    def __len__(self) -> int:
        """How many entries are remembered: resources, scopes, metrics and attribute sets."""
        return self._entries

    def knows(self, series_id: int) -> bool:
        """Whether the definition of this series was handed out and not forgotten since."""
        return series_id in self._known

    def resource(self, pieces: Pieces, schema_url: str) -> ResourceEntry | None:
        """The entry of a resource seen before, which becomes the most recently used one."""
        entry = self._resources.get((pieces, schema_url))
        if entry is not None:
            self._resources.move_to_end((pieces, schema_url))
        return entry

    def remember(self, mapping: MutableMapping[Any, Any], key: Any, entry: Any) -> None:
        """Put an entry below another one of this cache; goes again if the request is refused."""
        mapping[key] = entry
        self._entries += 1
        self._registration.add(mapping, key)

    def add_resource(self, pieces: Pieces, schema_url: str, entry: ResourceEntry) -> None:
        """Remember a resource under the bytes that it was written with."""
        self.remember(self._resources, (pieces, schema_url), entry)
        self.count_large(entry, sum(map(len, pieces)) + len(entry.json))

    def count_large(self, resource: ResourceEntry, size_bytes: int) -> None:
        """Note that something of this size was remembered below the resource."""
        entries = size_bytes // _BYTES_OF_AN_ENTRY
        if entries:
            resource.large_entries += entries
            self._entries += entries
            self._registration.large.append((resource, entries))

    @contextmanager
    def registration(self) -> Iterator[Registration]:
        """Collect what is new; an exception takes it all back.

        A request that is refused in its middle must leave no series behind whose definition
        nobody was handed.
        """
        self._registration = registration = Registration()
        entries = self._entries
        try:
            yield registration
        except BaseException:
            self._take_back(registration)
            self._entries = entries
            raise
        finally:
            self._registration = Registration()  # the other has been handed on
        self._evict()

    def add_series(self, metric: MetricEntry, raw: bytes, series_id: int) -> None:
        """Remember a series id under the attributes as one sender writes them."""
        self.remember(metric.series_ids, raw, series_id)
        self.count_large(metric.scope.resource, len(raw))

    def count_template_points(self, points: int) -> None:
        """Note that the templates of some resource grew or shrank by so many points."""
        self._entries += points

    def register(self, metric: MetricEntry, attributes: str, texts: Mapping[str, str]) -> int:
        """The id of the series with these attributes; its definition is new if not known.

        Args:
            metric: the metric that the point belongs to.
            attributes: the point's attributes as canonical JSON.
            texts: the same, each value as text.

        Returns:
            The series id.

        Raises:
            SeriesRefusedError: another identity has the same 64-bit hash, or there are too many
                series.
        """
        key, scope = metric.key, metric.scope
        identity = metric.identity(attributes)
        unsigned = xxhash.xxh3_64_intdigest(identity)
        series_id = unsigned - (1 << 64) if unsigned & _SIGN_BIT else unsigned
        described = [key.description, scope.resource.schema_url, scope.schema_url]
        definition = "\0".join(described).encode()
        check = xxhash.xxh3_64_intdigest(identity, seed=1)
        fingerprint = check << 64 | xxhash.xxh3_64_intdigest(definition)
        known = self._known.get(series_id)
        if known is not None and known >> 64 != check:
            raise SeriesRefusedError("another series has the same 64-bit id (hash collision)")
        if known is None and self._max_series is not None and len(self._known) >= self._max_series:
            raise SeriesRefusedError(
                f"{self._max_series} series are known and no more are taken (max_series)"
            )
        if known != fingerprint:
            self._known[series_id] = fingerprint
            self._registration.note(series_id, known)
            self._registration.new_series.append(self._define(series_id, metric, attributes, texts))
        return series_id

    @contextmanager
    def without_limit(self) -> Iterator[None]:
        """Take any number of series: for requests that were accepted before."""
        limit, self._max_series = self._max_series, None
        try:
            yield
        finally:
            self._max_series = limit

    def forget(self, series_ids: Collection[int]) -> None:
        """Hand out the definitions of these series again when they are next seen.

        For when a backend no longer has them, or a batch that carried them was not stored.
        """
        gone = frozenset(series_ids)
        if not gone:
            return
        for resource in self._resources.values():
            self.count_template_points(-sum(each.points for each in resource.rosters.values()))
            resource.rosters.clear()
            for metric in resource.metrics():
                stale = [raw for raw, known in metric.series_ids.items() if known in gone]
                for raw in stale:
                    del metric.series_ids[raw]
                self._entries -= len(stale)
                if stale:
                    self.count_template_points(-resource.template_points)
                    resource.attempts.clear()
        for series_id in gone:
            self._known.pop(series_id, None)

    def clear(self) -> None:
        """Forget everything; each definition is handed out again when it is next seen."""
        self._resources.clear()
        self._known.clear()
        self.places_of_resource.clear()
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
            cluster_id=locate(self._cluster_id_attributes, texts, resource.attributes),
            node_id=locate(self._node_id_attributes, texts, resource.attributes),
            service_name=resource.attributes.get("service.name"),
            resource=resource.json,
            resource_schema_url=resource.schema_url,
            scope=scope.json,
            scope_schema_url=scope.schema_url,
            attributes=attributes,
        )

    def _take_back(self, registration: Registration) -> None:
        for mapping, keys in registration.added:
            for key in keys:
                mapping.pop(key, None)
        # In reverse: of a series that was handed out twice the first note counts, and one that
        # was unknown to begin with goes whatever came later.
        for series_id, known in reversed(registration.known_before):
            self._known[series_id] = known
        for series_id in registration.unknown_before:
            del self._known[series_id]
        for resource, large_entries in registration.large:
            resource.large_entries -= large_entries

    def _evict(self) -> None:
        # A resource that fills the cache alone goes too: bounded comes before fast.
        while self._entries > self._max_entries and self._resources:
            _, resource = self._resources.popitem(last=False)
            self._entries -= 1 + len(resource.scopes) + resource.template_points
            self._entries -= resource.large_entries
            for metric in resource.metrics():
                self._entries -= 1 + len(metric.series_ids)
                for series_id in metric.series_ids.values():
                    self._known.pop(series_id, None)
