"""The programming interface of OpenFinOps, on the backends of this package.

`ObservabilityHub` and `CostObservatory` store measurements and costs of a program and query them.
The module also replaces `openfinops.observability.persistence`, so that the hub and observatory of
the published package store their data here; docs/openfinops.md shows both.

records         records that a program passes in
settings        `PersistenceConfig`, and the exporter settings it maps to
otlp_requests   records as OTLP requests, so that they are spooled and stored like all telemetry
backend         `PersistenceBackend`: stores and queries records
cluster_health  cluster health and alerts from recent measurements
hub             `ObservabilityHub`
observatory     `CostObservatory`
v030_tables     the tables of openfinops 0.3.0 itself, and their rows as records
v030_store      a database with those tables, read in pages
v030_import     their import into a backend, and its verification
"""

from exporter.openfinops.backend import PersistenceBackend, create_persistence_backend
from exporter.openfinops.hub import ObservabilityHub
from exporter.openfinops.observatory import CostObservatory
from exporter.openfinops.records import (
    CostCategory,
    CostEntry,
    ServiceMetrics,
    SystemHealth,
    SystemMetrics,
)
from exporter.openfinops.settings import PersistenceConfig, StorageBackend

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
"""The name that openfinops imports."""
