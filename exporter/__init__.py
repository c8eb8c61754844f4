"""OpenTelemetry metrics and cost signals, stored in a database that you already run.

The names below are OpenFinOps' programming interface (docs/openfinops.md), and load when they are
first used, so that an import of another part of the package does not load them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.openfinops import (
        CostCategory,
        CostEntry,
        CostObservatory,
        ObservabilityHub,
        PersistenceConfig,
        ServiceMetrics,
        StorageBackend,
        SystemHealth,
        SystemMetrics,
    )

__all__ = [
    "CostCategory",
    "CostEntry",
    "CostObservatory",
    "ObservabilityHub",
    "PersistenceConfig",
    "ServiceMetrics",
    "StorageBackend",
    "SystemHealth",
    "SystemMetrics",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module("exporter.openfinops"), name)
    globals()[name] = value
    return value
