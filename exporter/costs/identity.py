"""What is paid for: the series id that series of one identity share.

Usually each series is paid for. A rule with an identity gives the series that several senders have
of the same thing, such as two replicas of an exporter, one series id, so that it costs once. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import xxhash

from exporter.costs.entry_fields import Attributes, attribute_text
from exporter.json_text import canonical_json

EVERY_ATTRIBUTE: Final = "*"
"""This pattern alone means all attributes of the point, see `identity_attributes`."""

# Labels that a Prometheus scrape adds for the target, not for the thing that a sample is about.
_TARGET_LABELS: Final = frozenset(
    {
        "container",
        "endpoint",
        "job",
        "pod",
        "prometheus",
        "prometheus_replica",
        "replica",
        "service",
        "service.instance.id",
    }
)
# A label of the sample that has the name of a label of the target gets this prefix.
_EXPORTED: Final = "exported_"


def identity_attributes(
    names: Sequence[str], point: Attributes, resource: Attributes
) -> dict[str, Any]:
    """The attributes that identify what is paid for.

    Args:
        names: of the attributes, with `*`, `?` and `[...]` as in file names. `*` alone stands for
            all attributes of the point but those that a Prometheus scrape adds for its target.
        point: the attributes of the point. They win over those of the resource.
        resource: the attributes of the resource.
    """
    if tuple(names) == (EVERY_ATTRIBUTE,):
        return {name: value for name, value in point.items() if not _is_of_target(name, point)}
    return {
        name: value
        for name, value in {**resource, **point}.items()
        if any(fnmatchcase(name, pattern) for pattern in names)
    }


def shared_series_id(metric: str, cluster_id: str, attributes: Mapping[str, Any]) -> int:
    """The series id of an identity: a signed 64-bit hash, the same on every receiver."""
    texts = {name: attribute_text(value) for name, value in attributes.items()}
    identity = canonical_json([metric, cluster_id, texts])
    unsigned = xxhash.xxh3_64_intdigest(identity.encode("utf-8", "surrogatepass"))
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def _is_of_target(name: str, point: Attributes) -> bool:
    return name in _TARGET_LABELS or f"{_EXPORTED}{name}" in point
