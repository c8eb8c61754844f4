"""OpenFinOps' own programming interface, on the backends of this package.

`ObservabilityHub` and `CostObservatory` take measurements and costs of a program and answer
questions about them. The module also stands in for `openfinops.observability.persistence`, so
that the published package's own hub and observatory keep their data here; docs/openfinops.md
shows both.

values          what is handed in
settings        `PersistenceConfig`, and the settings that it stands for
encoding        values as OTLP requests, so that they go the same way as everything else
backend         records in and out of a backend
health          what a hub finds from recent measurements
hub             `ObservabilityHub`
observatory     `CostObservatory`
published       the tables that openfinops 0.3.0 itself keeps: their rows as the values handed to it
open_v030_store where these are, read in pages
v030_import     these, copied into a backend of ours and proven
"""

from exporter.openfinops.backend import PersistenceBackend, create_persistence_backend
from exporter.openfinops.hub import ObservabilityHub
from exporter.openfinops.observatory import CostObservatory
from exporter.openfinops.settings import PersistenceConfig, StorageBackend
from exporter.openfinops.values import (
    CostCategory,
    CostEntry,
    ServiceMetrics,
    SystemHealth,
    SystemMetrics,
)

__all__ = [
    "BasePersistenceBackend",
    "CostCategory",
    "CostEntry",
    "CostObservatory",
    "ObservabilityHub",
    "PersistenceBackend",
    "PersistenceConfig",
    "ServiceMetrics",
    "StorageBackend",
    "SystemHealth",
    "SystemMetrics",
    "create_persistence_backend",
]

BasePersistenceBackend = PersistenceBackend
"""The name under which openfinops asks for it."""
