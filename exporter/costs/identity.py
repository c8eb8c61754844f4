"""What is paid for: the id of the chain in which the points of one cost follow each other.

Usually a chain is a series. A rule with an identity joins the series that several senders have of
the same thing, such as the two replicas of an exporter, so that it costs once. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import xxhash

from exporter.costs.entry_fields import Attributes, attribute_text
from exporter.json_text import canonical_json

EVERY_ATTRIBUTE: Final = "*"
"""An identity with this pattern alone is made of all attributes of the point."""

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


def chain_id(metric: str, cluster_id: str, attributes: Mapping[str, Any]) -> int:
    """The id of a chain: a signed 64-bit hash, the same on every receiver."""
    texts = {name: attribute_text(value) for name, value in attributes.items()}
    identity = canonical_json([metric, cluster_id, texts])
    unsigned = xxhash.xxh3_64_intdigest(identity.encode("utf-8", "surrogatepass"))
    return unsigned - (1 << 64) if unsigned >= 1 << 63 else unsigned


def _is_of_target(name: str, point: Attributes) -> bool:
    return name in _TARGET_LABELS or f"{_EXPORTED}{name}" in point
