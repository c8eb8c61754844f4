"""The keys that say where data goes, how, and what of it is a cost."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import BeforeValidator, model_validator

from exporter.config import values
from exporter.config.sections import (
    DAY_SECONDS,
    Count,
    FilePath,
    Flag,
    Names,
    NotNothing,
    Number,
    Seconds,
    Section,
    Switch,
    key,
)

__all__ = ["Exporters", "LlmPrice", "Rule"]

_YEAR_DAYS: Final = 365

_DirectCompress = Annotated[Literal["auto", "on", "off"], BeforeValidator(values.read_mode)]
_PRICE_TEXT: Final = "a number from 0 to 1000000, such as 2.50"


_Sources = Annotated[list[str], BeforeValidator(values.read_sources)]
_SOURCES_TEXT: Final = (
    "attribute:NAME, or a constant; or a list of them, of which the first that gives something "
    "counts"
)


class Rule(Section):
    """Which series are a cost, and where the fields of their entries come from."""

    metric: Annotated[str, BeforeValidator(values.read_pattern)] = key(
        "",
        "the name of a metric; * stands for any letters, ? for one",
        "Which metric the rule is about.",
    )
    attributes: dict[str, str] = key(
        {},
        "a mapping of attribute names to their values; * stands for any letters, ? for one",
        "Which of its series: attributes of point or resource that they have.",
    )
    kind: Literal["amount", "cumulative", "hourly_rate", "none"] = key(
        "none",
        "amount, cumulative, hourly_rate, none",
        "What a value is: an amount, a total that grows, or an amount an hour. With none they are "
        "never a cost.",
    )
    category: _Sources = key([], _SOURCES_TEXT, "Category of the entries.")
    resource_id: _Sources = key([], _SOURCES_TEXT, "What cost it.")
    currency: _Sources = key([], _SOURCES_TEXT, "ISO 4217 code.")
    region: _Sources = key([], _SOURCES_TEXT, "Region of the entries.")
    tags: Annotated[dict[str, str] | None, NotNothing] = key(
        None,
        "a mapping of names to attribute:NAME or constants",
        "Tags of the entries; without it all attributes that no other field took.",
    )
    staleness: Seconds = key(
        600.0,
        "seconds above 0, at most 86400, or a duration such as 10m",
        "The longest time that one point of an hourly_rate pays for.",
        gt=0,
        le=DAY_SECONDS,
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.metric or "kind" not in self.model_fields_set:
            raise ValueError("a rule needs metric and kind")
        return self


class LlmPrice(Section):
    """What the tokens of a language model cost."""

    model: Annotated[str, BeforeValidator(values.read_pattern)] = key(
        "",
        "the name of a model; * stands for any letters, ? for one",
        "As in gen_ai.response.model or gen_ai.request.model.",
    )
    provider: Annotated[str, BeforeValidator(values.read_pattern)] = key(
        "*", "the name of a provider, likewise", "As in gen_ai.provider.name or gen_ai.system."
    )
    input: Annotated[Decimal, BeforeValidator(values.read_price)] = key(
        Decimal(0), _PRICE_TEXT, "Price of a million tokens that are sent.", ge=0, le=1_000_000
    )
    output: Annotated[Decimal, BeforeValidator(values.read_price)] = key(
        Decimal(0), _PRICE_TEXT, "Price of a million tokens that are received.", ge=0, le=1_000_000
    )
    currency: Annotated[str, BeforeValidator(values.read_currency)] = key(
        "USD", "an ISO 4217 code such as USD", "Currency of both."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.model or not {"input", "output"} <= self.model_fields_set:
            raise ValueError("a price needs model, input and output")
        return self


class Openfinops(Section):
    """Where data goes, and how."""

    unsupported: ClassVar[Mapping[str, str]] = {
        "endpoint": "the address to listen on is receivers.otlp.protocols.grpc.endpoint; the "
        "database's is connection_string",
        "retry_on_failure": "failed writes are always tried again; remove it",
        "sending_queue": "the queue is always there, on disk: spool_max_size_mib bounds it",
        "timeout": "remove it; a write ends when the database answers",
    }

    backend: Annotated[
        Literal["sqlite", "memory", "postgresql", "timescaledb"],
        BeforeValidator(values.read_backend),
    ] = key(
        "sqlite",
        "sqlite, memory (or in_memory), postgresql, timescaledb",
        "Where rows are kept. Without it, the connection string decides.",
    )
    connection_string: Annotated[str, BeforeValidator(values.read_connection_string)] = key(
        "sqlite:///openfinops_telemetry.db",
        "sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host:5432/"
        "database, or libpq's key=value form",
        "Which file or database. The backend memory has none. "
        "The default stands for the backend sqlite only.",
        repr=False,
    )
    retention_days: Annotated[float, Number] = key(
        90.0,
        "a number above 0, at most 36500",
        "Rows older than this are deleted. 36500 (a hundred years) keeps them for ever.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    max_past_days: Annotated[float | None, Number, NotNothing] = key(
        None,
        "a number above 0, at most 36500",
        "Data points that are older than this when they arrive are rejected by name. Without it "
        "any age is taken, until retention_days deletes it.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    max_future_days: Annotated[float, Number] = key(
        7.0,
        "a number above 0, at most 36500",
        "Data points that are further ahead of this machine's clock than this are rejected by "
        "name: a sender whose clock is wrong must not fill partitions of the year 2255.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    batch_size: Count = key(
        100,
        "a whole number from 1 to 1000000",
        "Data points after which a batch is written without waiting for the interval. "
        "Under load batches grow past it.",
        collector="processors.batch.send_batch_size",
        ge=1,
        le=1_000_000,
    )
    batch_interval_seconds: Seconds = key(
        60.0,
        "seconds above 0, at most 86400, or a duration such as 200ms, 5s or 1m",
        "A batch is written at the latest this long after its first data point, so other "
        "processes see data this late at most.",
        collector="processors.batch.timeout",
        gt=0,
        le=DAY_SECONDS,
    )
    enable_compression: Flag = key(False, "true or false", "Compress old rows (timescaledb only).")
    compress_after_seconds: Seconds = key(
        float(DAY_SECONDS),
        "seconds above 0, at most 3153600000, or a duration such as 12h",
        "With enable_compression: how long after the end of a chunk it is compressed. Late rows "
        "still go in, by a slower way (timescaledb only).",
        gt=0,
        le=100 * _YEAR_DAYS * DAY_SECONDS,
    )
    direct_compress: _DirectCompress = key(
        "auto",
        "auto, on, off",
        "With enable_compression: whether batches are written compressed. auto does it for batches "
        "of 50,000 data points or more, from TimescaleDB 2.28 on; earlier versions could lose rows "
        "(timescaledb only).",
    )
    chunk_interval_seconds: Seconds = key(
        float(DAY_SECONDS),
        "seconds from 60 to 31536000, or a duration such as 6h",
        "How much time one chunk holds, for chunks yet to be made. Rows are compressed and deleted "
        "by whole chunks (timescaledb only).",
        ge=60,
        le=_YEAR_DAYS * DAY_SECONDS,
    )
    rollups: Switch = key(
        True,
        "on or off",
        "Make roll-ups of number points and of costs by the hour and the day, which the database "
        "keeps up to date and long queries read. off leaves those that are there as they are "
        "(timescaledb only).",
    )
    pool_min_connections: Count = key(
        1,
        "a whole number from 0 to 1000, at most pool_max_connections",
        "Connections for reading that are kept open (postgresql and timescaledb).",
        ge=0,
        le=1000,
    )
    pool_max_connections: Count = key(
        4,
        "a whole number from 1 to 1000",
        "How many reads may run at once; others wait for one of these connections. Writing has "
        "one of its own (postgresql and timescaledb).",
        ge=1,
        le=1000,
    )
    max_memory_entries: Count = key(
        10_000,
        "a whole number from 1 to 1000000000",
        "Data points that the backend memory keeps; the oldest give way.",
        ge=1,
        le=1_000_000_000,
    )
    max_queued_entries: Count = key(
        1_000_000,
        "a whole number from 1 to 1000000000, at least batch_size",
        "Data points that may wait in memory for a slow backend. Further ones wait in the spool "
        "alone; without it, senders are refused with an error that makes them try again.",
        collector="sending_queue.queue_size",
        ge=1,
        le=1_000_000_000,
    )
    max_series: Count = key(
        1_000_000,
        "a whole number from 1 to 1000000000",
        "Series that are taken since the start; points of further ones are rejected by name, so "
        "that a sender that makes up a new attribute value for each point harms only itself. A "
        "known series takes about 1 KiB of memory.",
        ge=1,
        le=1_000_000_000,
    )
    memory_limit_mib: Count = key(
        2048,
        "a whole number of MiB from 128 to 1048576",
        "What the process may take in memory (docs/robustness.md). From half of it on, requests "
        "wait in the spool alone; from five eighths on, senders are refused with an error that "
        "makes them try again. Known series, batches and the largest request are bounded in "
        "proportion.",
        collector="processors.memory_limiter.limit_mib",
        ge=128,
        le=2**20,
    )
    spool: Switch = key(
        True,
        "on or off",
        "Whether a request is written to disk before it is acknowledged. Without it, what was "
        "acknowledged and not yet stored is lost when the process is killed. The backend memory "
        "has none.",
        collector="sending_queue.storage",
    )
    spool_path: FilePath = key(
        None,
        "the path of a file in a folder that exists",
        "The file of the spool. Without it `<database file>.spool` for sqlite, else "
        "`openfinops-spool.db` in the working folder. It belongs to one exporter and must outlive "
        "its container. What exporters in process left in files beside it is stored as well "
        "(docs/openfinops.md).",
        collector="extensions.file_storage.directory",
    )
    spool_max_size_mib: Count = key(
        4096,
        "a whole number of MiB from 1 to 1048576",
        "Compressed requests that may wait in the spool while the database is away; beyond it "
        "senders are refused with an error that makes them try again.",
        collector="sending_queue.queue_size",
        ge=1,
        le=2**20,
    )
    spool_max_age_seconds: Seconds = key(
        604_800.0,
        "seconds above 0, or a duration such as 30m or 168h",
        "While the oldest request in the spool is older than this, senders are refused likewise.",
        gt=0,
    )
    retry_window_seconds: Seconds = key(
        3600.0,
        "seconds from 0 to 604800, or a duration such as 10m or 1h",
        "For how long a request is known again: the same bytes once more, as clients send them "
        "when an answer was lost, are acknowledged and not stored twice.",
        ge=0,
        le=604_800,
    )
    shutdown_timeout_seconds: Seconds = key(
        25.0,
        "seconds above 0, at most 3600, or a duration such as 30s",
        "How long stopping may take to write what was accepted. "
        "Kubernetes kills after 30 s unless told otherwise.",
        gt=0,
        le=3600,
    )
    cluster_id_attributes: Names = key(
        ["cluster_id", "k8s.cluster.name", "k8s.cluster.uid", "deployment.environment.name"],
        "a list of attribute names",
        "Where cluster_id is taken from: the first name is looked for in the attributes of the "
        "data point, then all of them in the resource; the first that is found counts.",
    )
    node_id_attributes: Names = key(
        ["node_id", "k8s.node.name", "host.name", "host.id", "service.instance.id"],
        "a list of attribute names",
        "Likewise for node_id.",
    )
    cost_rules: list[Rule] = key(
        [],
        "a list of rules, see docs/costs.md",
        "Which metrics carry cost. The first rule that matches a series counts; those that are "
        "shipped come after them.",
    )
    default_cost_rules: Switch = key(
        True,
        "on or off",
        "Whether the shipped rules count: metrics named `openfinops.cost` or measured in a "
        "currency, and those of OpenCost.",
    )
    llm_prices: list[LlmPrice] = key(
        [],
        "a list of prices, see docs/costs.md",
        "What a million tokens of a language model cost. The first that matches counts; then the "
        "library genai-prices is asked, where it is installed.",
    )


class Exporters(Section):
    """Where data goes."""

    openfinops: Openfinops = Openfinops()
