"""Which cluster and node something belongs to, by its attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["CLUSTER_ID_ATTRIBUTES", "NODE_ID_ATTRIBUTES", "locate"]

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
_NOWHERE: Final = "default"


def locate(names: tuple[str, ...], point: Mapping[str, str], resource: Mapping[str, str]) -> str:
    """Where something belongs: the first name counts on the point, all of them on the resource."""
    if names and (found := point.get(names[0])):
        return found
    return next((resource[name] for name in names if resource.get(name)), _NOWHERE)
