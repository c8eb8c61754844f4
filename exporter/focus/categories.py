"""Categories of cost here, and the closed list of ServiceCategory in FOCUS."""

from __future__ import annotations

from typing import Final

from exporter.costs.entry_fields import CREDIT_CATEGORIES

__all__ = ["category_of", "charge_category", "service_category", "unknown_subcategory"]

_CATEGORIES: Final = {
    "AI and Machine Learning": "ai",
    "Analytics": "analytics",
    "Business Applications": "business_applications",
    "Compute": "compute",
    "Databases": "database",
    "Developer Tools": "developer_tools",
    "Multicloud": "multicloud",
    "Identity": "identity",
    "Integration": "integration",
    "Internet of Things": "iot",
    "Management and Governance": "management",
    "Media": "media",
    "Migration": "migration",
    "Mobile": "mobile",
    "Networking": "network",
    "Security": "security",
    "Storage": "storage",
    "Web": "web",
    "Other": "other",
}
_ALSO: Final = {
    "ai_ml": "AI and Machine Learning",
    "gen_ai": "AI and Machine Learning",
    "gpu": "AI and Machine Learning",
    "llm": "AI and Machine Learning",
    "llm_api": "AI and Machine Learning",
    "inference": "AI and Machine Learning",
    "training": "AI and Machine Learning",
    "cpu": "Compute",
    "memory": "Compute",
    "databases": "Databases",
    "monitoring": "Management and Governance",
    "networking": "Networking",
}
_SERVICE_CATEGORIES: Final = {own: focus for focus, own in _CATEGORIES.items()} | _ALSO
_CHARGES: Final = {"adjustment": "Adjustment", "tax": "Tax"}


def category_of(focus_category: str) -> str:
    """The category here of a ServiceCategory; one that FOCUS does not have stays as it is."""
    return _CATEGORIES.get(focus_category, focus_category)


def service_category(category: str) -> str:
    """The ServiceCategory of a category; "Other" where none is like it."""
    if category in _CATEGORIES:
        return category
    return _SERVICE_CATEGORIES.get(category.lower(), "Other")


def unknown_subcategory(focus_category: str) -> str:
    """The ServiceSubcategory, which must not be null, where none is known."""
    return f"Other ({focus_category})"


def charge_category(category: str, *, is_negative: bool) -> str:
    """The ChargeCategory of a cost that did not come from a bill."""
    category = category.lower()
    if category in _CHARGES:
        return _CHARGES[category]
    return "Credit" if is_negative or category in CREDIT_CATEGORIES else "Usage"
