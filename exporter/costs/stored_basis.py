"""The basis of a cost entry as the JSON that is stored with it."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from exporter.json_text import canonical_json
from exporter.model import CostBasis

_CACHED_BASES: Final = 65_536


@lru_cache(maxsize=_CACHED_BASES)
def basis_text(basis: CostBasis) -> str:
    """What of a basis the amount depends on; members with the usual value are left out."""
    members: dict[str, Any] = {"kind": basis.kind}
    if basis.factor != 1:
        members["factor"] = str(basis.factor)
    if basis.kind == "hourly_rate":
        members["staleness_seconds"] = basis.staleness_seconds
    if not basis.is_monotonic:
        members["is_monotonic"] = False
    if not basis.has_known_starts:
        members["has_known_starts"] = False
    if basis.falls != "auto":
        members["falls"] = basis.falls
    if basis.quantity_id is not None:
        members["quantity_id"] = basis.quantity_id
    return canonical_json(members)


@lru_cache(maxsize=_CACHED_BASES)
def parse_basis(text: str) -> CostBasis:
    """The basis of a stored entry, without the fields that the entry itself has."""
    members: dict[str, Any] = json.loads(text)
    return CostBasis(
        kind=members["kind"],
        factor=Decimal(members.get("factor", 1)),
        staleness_seconds=members.get("staleness_seconds", 0.0),
        resource_id="",
        category="",
        currency="",
        is_monotonic=members.get("is_monotonic", True),
        has_known_starts=members.get("has_known_starts", True),
        falls=members.get("falls", "auto"),
        quantity_id=members.get("quantity_id"),
    )
