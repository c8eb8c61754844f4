"""Where the fields of a cost entry stand among attributes, and how their values read as text."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from exporter.wire.attributes import canonical_json

__all__ = [
    "CATEGORY_ATTRIBUTES",
    "CREDIT_CATEGORIES",
    "CURRENCY_ATTRIBUTES",
    "DEFAULT_CATEGORY",
    "DESCRIPTION_ATTRIBUTES",
    "REGION_ATTRIBUTES",
    "RESOURCE_ID_ATTRIBUTES",
    "Attributes",
    "CostRefusedError",
    "check_amount",
    "first_text",
    "tags_of",
    "text_of",
]

Attributes = Mapping[str, Any]

CATEGORY_ATTRIBUTES: Final = ("cost.category", "category")
RESOURCE_ID_ATTRIBUTES: Final = ("cost.resource_id", "resource_id", "cloud.resource_id")
REGION_ATTRIBUTES: Final = ("cloud.region", "region")
CURRENCY_ATTRIBUTES: Final = ("currency", "cost.currency")
DESCRIPTION_ATTRIBUTES: Final = ("cost.description", "description")

DEFAULT_CATEGORY: Final = "other"
# What a provider gives back; under any other category a negative amount is a mistake.
CREDIT_CATEGORIES: Final = frozenset({"credit", "refund", "discount", "adjustment"})

# No invoice has it, and sums of billions of such amounts can still be kept.
_LARGEST_AMOUNT: Final = 1e15


class CostRefusedError(Exception):
    """This cannot be taken as a cost; the message says why."""


def first_text(attributes: Attributes, names: Iterable[str]) -> tuple[str, str] | None:
    """The name and text of the first of these attributes that is there and not empty."""
    for name in names:
        text = text_of(attributes.get(name))
        if text:
            return name, text
    return None


def text_of(value: Any) -> str:
    """A value as a person would write it; "" where there is none."""
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical_json(value)


def tags_of(attributes: Attributes, used: Collection[str]) -> str:
    """All attributes but those that are used elsewhere, as a canonical JSON object."""
    return canonical_json({name: value for name, value in attributes.items() if name not in used})


def check_amount(amount: float, category: str) -> None:
    """Check that this may be an amount, or what one is made from.

    Raises:
        CostRefusedError: it may not.
    """
    if not math.isfinite(amount):
        raise CostRefusedError("it is not a finite number")
    if amount < 0 and category.lower() not in CREDIT_CATEGORIES:
        raise CostRefusedError(
            f"it is negative, and its category is none of {', '.join(sorted(CREDIT_CATEGORIES))}"
        )
    if abs(amount) > _LARGEST_AMOUNT:
        raise CostRefusedError(f"it is larger than {_LARGEST_AMOUNT:.0f}")
