"""What is remembered of resources, scopes and metrics, and what identifies a series of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from exporter.model import MetricType, Temporality

__all__ = [
    "MetricEntry",
    "MetricKey",
    "Pieces",
    "ResourceEntry",
    "ScopeEntry",
    "WrittenMetric",
    "identity_key",
]

# A serialized message, in as many pieces as it was written in.
Pieces = tuple[bytes, ...]
# A metric's name, type, unit, description, temporality code and monotonicity, as written.
WrittenMetric = tuple[str, str, str, str, int, bool | None]


class MetricKey(NamedTuple):
    """The fields of a metric that its series share."""

    name: str
    type: MetricType
    unit: str
    description: str
    temporality: Temporality | None
    is_monotonic: bool | None


class ResourceEntry:
    """One resource, as one sender writes it.

    `attempts` is the decoder's memory of whole messages of this resource, by their length; it
    goes with the resource, and when a series of it is forgotten. `rosters` is its memory of points
    that came together, the first of them of this resource; it goes when any series is forgotten.
    """

    __slots__ = (
        "attempts",
        "attributes",
        "json",
        "large_entries",
        "refusal",
        "rosters",
        "schema_url",
        "scopes",
    )

    def __init__(
        self, json: str, schema_url: str, attributes: Mapping[str, str], refusal: str | None
    ) -> None:
        self.json = json
        self.schema_url = schema_url
        self.attributes = attributes
        self.refusal = refusal
        self.scopes: dict[tuple[Pieces, str], ScopeEntry] = {}
        self.attempts: OrderedDict[int, Any] = OrderedDict()
        self.rosters: OrderedDict[Any, Any] = OrderedDict()
        # What large texts below this resource, and its own, count for besides one entry each.
        self.large_entries = 0

    @property
    def template_points(self) -> int:
        """How many points the templates and rosters of this resource know."""
        known = (*self.attempts.values(), *self.rosters.values())
        return sum(each.points for each in known)

    def metrics(self) -> Iterator[MetricEntry]:
        """Those below all of its scopes."""
        for scope in self.scopes.values():
            yield from scope.metrics.values()


class ScopeEntry:
    """One instrumentation scope below one resource."""

    __slots__ = ("json", "metrics", "refusal", "resource", "schema_url")

    def __init__(
        self, resource: ResourceEntry, json: str, schema_url: str, refusal: str | None
    ) -> None:
        self.resource = resource
        self.json = json
        self.schema_url = schema_url
        self.refusal = refusal
        # Keyed by the fields as written: the temporality still a number of any meaning.
        self.metrics: dict[WrittenMetric, MetricEntry] = {}


class MetricEntry:
    """One metric below one scope, and the series ids of the attribute sets seen of it.

    `series_ids` is keyed by attributes as they stand in points of the metric's type, tags included.
    `refusal` says why no point of this metric can be stored, None where they can.
    """

    __slots__ = ("key", "refusal", "scope", "series_ids")

    def __init__(self, scope: ScopeEntry, key: MetricKey, refusal: str | None) -> None:
        self.scope = scope
        self.key = key
        self.refusal = refusal
        self.series_ids: dict[bytes, int] = {}

    def identity(self, attributes: str) -> bytes:
        """The identity of the series of this metric with these attributes.

        Made anew for each series, and kept nowhere: it holds the whole resource, of which one
        request can name a thousand metrics.
        """
        return identity_key(self.key, self.scope.resource.json, self.scope.json, attributes)


def identity_key(key: MetricKey, resource: str, scope: str, *attributes: str) -> bytes:
    """The bytes that identify a series; equal exactly when the identities are.

    Each part is preceded by its length in bytes as a fixed-width number, so the parts can be
    read back one after the other: two different lists of parts cannot give the same bytes, and
    the key of a list is the concatenation of the keys of its pieces. The JSON parts are canonical
    (sorted keys, one spelling a value, types told apart), so attribute order does not matter.
    Description and schema URLs are left out: they do not identify (data-model.md, "Timeseries
    Model").
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
    return b"".join(map(_with_length, parts))


def _with_length(part: str) -> bytes:
    encoded = part.encode()
    return len(encoded).to_bytes(4, "little") + encoded
