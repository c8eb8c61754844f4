"""Records that a program passes in: measurements of nodes and services, and costs.

Fields and units are those of openfinops 0.3.0. Times are epoch seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any


class SystemHealth(Enum):
    """The health of a node."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    DOWN = "down"


class CostCategory(Enum):
    """Usual cost categories; `CostEntry` accepts any other text as well."""

    COMPUTE = "compute"
    STORAGE = "storage"
    NETWORK = "network"
    GPU = "gpu"
    MEMORY = "memory"
    SOFTWARE_LICENSES = "software_licenses"
    DATA_TRANSFER = "data_transfer"
    SUPPORT = "support"
    DATABRICKS = "databricks"
    DATABRICKS_DBU = "databricks_dbu"
    DATABRICKS_JOBS = "databricks_jobs"
    DATABRICKS_SQL = "databricks_sql"
    SNOWFLAKE = "snowflake"
    SNOWFLAKE_COMPUTE = "snowflake_compute"
    SNOWFLAKE_STORAGE = "snowflake_storage"
    MONGODB_ATLAS = "mongodb_atlas"
    REDIS_CLOUD = "redis_cloud"
    GITHUB_ACTIONS = "github_actions"
    DATADOG = "datadog"
    ELASTICSEARCH = "elasticsearch"
    CONFLUENT_KAFKA = "confluent_kafka"
    DATABASE = "database"
    DATABASE_COMPUTE = "database_compute"
    DATABASE_STORAGE = "database_storage"
    DATABASE_BACKUP = "database_backup"


@dataclass
class SystemMetrics:
    """One measurement of one node; usage and rates of errors in percent, latencies in milliseconds.

    `network_io` is in MB/s, or a mapping of such numbers. `temperature` is in degrees Celsius,
    `power_consumption` in watts, `throughput` in operations a second. `metadata` is kept as given.
    """

    timestamp: float
    cpu_usage: float
    memory_usage: float
    disk_usage: float
    cluster_id: str = "default"
    node_id: str = "default"
    gpu_usage: float = 0.0
    network_io: Any = None
    active_connections: int = 0
    error_count: int = 0
    warning_count: int = 0
    throughput: float = 0.0
    latency_p50: float = 0.0
    latency_p95: float = 0.0
    latency_p99: float = 0.0
    error_rate: float = 0.0
    training_active: bool = False
    model_loading: bool = False
    data_loading: bool = False
    gradient_sync: bool = False
    checkpoint_saving: bool = False
    temperature: float = 0.0
    power_consumption: float = 0.0
    fan_speed: float = 0.0
    health_status: SystemHealth = SystemHealth.HEALTHY
    cost_per_hour: float = 0.0
    estimated_daily_cost: float = 0.0
    metadata: Any = None


@dataclass
class ServiceMetrics:
    """One measurement of one service; `uptime` is in seconds, `response_time` in milliseconds.

    `request_rate` is in requests a second, `success_rate` in percent.
    """

    service_name: str
    timestamp: float
    status: str = "up"
    uptime: float = 0.0
    restart_count: int = 0
    request_rate: float = 0.0
    response_time: float = 0.0
    success_rate: float = 100.0
    cpu_limit: float = 0.0
    memory_limit: float = 0.0
    cpu_request: float = 0.0
    memory_request: float = 0.0
    dependency_health: dict[str, str] = field(default_factory=dict)
    training_jobs_active: int = 0
    training_jobs_queued: int = 0
    training_jobs_failed: int = 0


@dataclass
class CostEntry:
    """What something cost; `entry_id` and `timestamp` identify the entry.

    `amount` is in `currency`, an ISO 4217 code; a Decimal is stored exactly. Without a
    `billing_period` the entry belongs to the month of its time.
    """

    entry_id: str
    timestamp: float
    resource_id: str
    category: CostCategory | str
    amount: float | Decimal
    currency: str = "USD"
    region: str = "us-west-2"
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    billing_period: str = ""
