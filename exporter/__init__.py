"""OpenTelemetry metrics and cost signals, stored in a database that you already run.

`open_reader` and `to_arrow` read what is stored. The other names are OpenFinOps' programming
interface (docs/openfinops.md). Each name is loaded when it is first used, so that an import of
another part of the package does not load it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.column_files import to_arrow
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
    from exporter.query import open_reader

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
    "open_reader",
    "to_arrow",
]

_MODULES = {"open_reader": "exporter.query", "to_arrow": "exporter.column_files"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES.get(name, "exporter.openfinops")), name)
    globals()[name] = value
    return value
