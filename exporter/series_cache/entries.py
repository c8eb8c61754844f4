"""Cache entries of resources, scopes and metrics, and the identity of a series. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from exporter.model import MetricType, Temporality

CLUSTER_ID_ATTRIBUTES: Final = (
    "cluster_id",
    "k8s.cluster.name",
    "k8s.cluster.uid",
    "deployment.environment.name",
)
NODE_ID_ATTRIBUTES: Final = (
    "node_id",
    "k8s.node.name",
    "host.name",
    "host.id",
    "service.instance.id",
)
_DEFAULT_CLUSTER_OR_NODE: Final = "default"

# The serialized fragments of one sub-message. Protobuf lets an encoder write a singular
# sub-message in several fragments, which a parser merges.
Fragments = tuple[bytes, ...]
# A metric's name, type, unit, description, temporality code and monotonicity, as received.
MetricCacheKey = tuple[str, str, str, str, int, bool | None]


class MetricKey(NamedTuple):
    """The fields of a metric that all its series share."""

    name: str
    type: MetricType
    unit: str
    description: str
    temporality: Temporality | None
    is_monotonic: bool | None


class ResourceEntry:
    """One resource, as one sender encodes it.

    Attributes:
        json: the resource attributes as canonical JSON.
        schema_url: of the ResourceMetrics message.
        attributes: the resource attributes, each value as text.
        rejection_reason: why no point below this resource can be stored; None if points can be.
        scopes: the scopes below this resource, by their bytes and schema URL.
        template_caches: the decoder's message templates, by message length. They are dropped with
            the resource, and when one of its series is invalidated.
        series_sequences: the decoder's sequences of series ids, keyed by their first point. All
            are dropped when any series is invalidated.
        extra_entries: how many additional entries are counted for large texts.
    """

    __slots__ = (
        "attributes",
        "extra_entries",
        "json",
        "rejection_reason",
        "schema_url",
        "scopes",
        "series_sequences",
        "template_caches",
    )

    def __init__(
        self,
        json: str,
        schema_url: str,
        attributes: Mapping[str, str],
        rejection_reason: str | None,
    ) -> None:
        self.json = json
        self.schema_url = schema_url
        self.attributes = attributes
        self.rejection_reason = rejection_reason
        self.scopes: dict[tuple[Fragments, str], ScopeEntry] = {}
        self.template_caches: OrderedDict[int, Any] = OrderedDict()
        self.series_sequences: OrderedDict[Any, Any] = OrderedDict()
        self.extra_entries = 0

    @property
    def template_points(self) -> int:
        """How many points the templates and series sequences of this resource hold."""
        caches = (*self.template_caches.values(), *self.series_sequences.values())
        return sum(cache.point_count for cache in caches)

    def metrics(self) -> Iterator[MetricEntry]:
        """The metrics below all scopes of this resource."""
        for scope in self.scopes.values():
            yield from scope.metrics.values()


class ScopeEntry:
    """One instrumentation scope below one resource."""

    __slots__ = ("json", "metrics", "rejection_reason", "resource", "schema_url")

    def __init__(
        self, resource: ResourceEntry, json: str, schema_url: str, rejection_reason: str | None
    ) -> None:
        self.resource = resource
        self.json = json
        self.schema_url = schema_url
        self.rejection_reason = rejection_reason
        self.metrics: dict[MetricCacheKey, MetricEntry] = {}


class MetricEntry:
    """One metric below one scope, and the series id of each attribute set seen with it.

    Attributes:
        key: the fields of the metric.
        scope: the scope that the metric belongs to.
        rejection_reason: why no point of this metric can be stored; None if points can be.
        series_ids: by the serialized attributes of a point of the metric's type, tags included.
    """

    __slots__ = ("key", "rejection_reason", "scope", "series_ids")

    def __init__(self, scope: ScopeEntry, key: MetricKey, rejection_reason: str | None) -> None:
        self.scope = scope
        self.key = key
        self.rejection_reason = rejection_reason
        self.series_ids: dict[bytes, int] = {}

    def identity(self, attributes: str) -> bytes:
        """The identity of the series of this metric with these attributes, as canonical JSON."""
        # Not kept: it contains the whole resource, and one request can have a thousand metrics.
        return identity_key(self.key, self.scope.resource.json, self.scope.json, attributes)


def identity_key(key: MetricKey, resource: str, scope: str, *attributes: str) -> bytes:
    """The bytes that identify a series; equal exactly when the identities are equal.

    Each part follows its length in bytes, a fixed-width number. The parts can therefore be read
    back one after the other, and two different lists of parts never give the same bytes. The JSON
    parts are canonical (sorted keys, one spelling for each value, distinct types), so the order of
    attributes does not matter. Description and schema URLs do not identify a series
    (data-model.md, "Timeseries Model") and are left out.
    """
    parts = (
        key.name,
        key.type,
        key.unit,
        key.temporality or "",
        {None: "", False: "0", True: "1"}[key.is_monotonic],
        resource,
        scope,
        *attributes,
    )
    return b"".join(map(_length_prefixed, parts))


def _length_prefixed(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(4, "little") + encoded


def cluster_or_node_id(
    names: tuple[str, ...], point: Mapping[str, str], resource: Mapping[str, str]
) -> str:
    """The cluster id or node id that the attributes give, "default" if they give none.

    Args:
        names: attribute names in order of precedence. On the point only the first one is read,
            on the resource all of them.
        point: the attributes of the point, each value as text.
        resource: the attributes of the resource, each value as text.
    """
    if names and (found := point.get(names[0])):
        return found
    return next((resource[name] for name in names if resource.get(name)), _DEFAULT_CLUSTER_OR_NODE)
