"""The keys of exporters.openfinops: storage, batches, limits and costs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from exporter.config import parsers
from exporter.config.fields import (
    Allowed,
    Count,
    FilePath,
    Flag,
    Names,
    NotNull,
    Number,
    OptionalNumber,
    Seconds,
    Section,
    Switch,
    key,
)
from exporter.costs.rules import DEFAULT_STALENESS_SECONDS, FieldSource
from exporter.series_cache import CLUSTER_ID_ATTRIBUTES, NODE_ID_ATTRIBUTES
from exporter.time_units import SECONDS_PER_DAY

_YEAR_DAYS: Final = 365

_SERVERS: Final = ("postgresql", "timescaledb")
_TIMESCALEDB: Final = ("timescaledb",)

_DirectCompress = Annotated[Literal["auto", "on", "off"], BeforeValidator(parsers.parse_mode)]
_Pattern = Annotated[
    str,
    BeforeValidator(parsers.parse_pattern),
    Allowed("a name; * stands for any characters, ? for one"),
]
_Price = Annotated[
    Decimal,
    BeforeValidator(parsers.parse_price),
    Field(ge=0, le=1_000_000),
    Allowed("a number", ", such as 2.50"),
]


_OptionalPrice = Annotated[
    Decimal | None,
    BeforeValidator(parsers.parse_price),
    NotNull,
    Allowed("a number", ", such as 1.25"),
]
_Factor = Annotated[
    Decimal,
    BeforeValidator(parsers.parse_price),
    Field(gt=0, le=1_000_000),
    Allowed("a number", ", such as 0.01"),
]


def _frozen_sources(texts: dict[str, str] | None) -> Mapping[str, FieldSource] | None:
    if texts is None:
        return None
    return MappingProxyType({name: FieldSource.parse(text) for name, text in texts.items()})


_Sources = Annotated[
    tuple[FieldSource, ...],
    PlainValidator(parsers.parse_sources),
    Allowed("attribute:NAME, or a constant; or a list of them, of which the first match is used"),
]
_Tags = Annotated[dict[str, str] | None, AfterValidator(_frozen_sources), NotNull]


class Rule(Section):
    """Which series are a cost, and where the fields of their entries come from."""

    metric: _Pattern = key("", "The metrics that the rule is for.")
    attributes: Annotated[dict[str, str], AfterValidator(MappingProxyType)] = key(
        {},
        "The attributes of point or resource that a series must have.",
        allowed="a mapping of names to values; * stands for any characters, ? for one",
        validate_default=True,
    )
    kind: Literal["amount", "cumulative", "hourly_rate", "tokens", "none"] = key(
        "none",
        "What a value is: an amount, a running total, an amount per hour, or a number of tokens. "
        "With none the series is never a cost.",
    )
    factor: _Factor = key(Decimal(1), "What each value is multiplied by.")
    category: _Sources = key((), "Category of the entries.")
    resource_id: _Sources = key((), "The resource that caused the cost.")
    currency: _Sources = key((), "ISO 4217 code.")
    region: _Sources = key((), "Region of the entries.")
    tags: _Tags = key(
        None,
        "Tags of the entries. Without it, all attributes that no other field uses.",
        allowed="a mapping of names to attribute:NAME or constants",
    )
    staleness: Seconds = key(
        DEFAULT_STALENESS_SECONDS,
        "The longest time that one point of an hourly_rate is charged for.",
        gt=0,
        le=SECONDS_PER_DAY,
    )
    identity: Names = key(
        (),
        "The attributes of point or resource that identify what is paid for. Series that are equal "
        "in them, in metric and in cluster_id cost once. Without it, each series costs by itself.",
    )
    falls: Literal["auto", "restart", "correct"] = key(
        "auto",
        "What a fall of a running total is: the total has begun again, or it is corrected.",
    )

    notional: Flag = key(
        False,
        "Whether nobody is billed for it, as for calls that a subscription includes. Its entries "
        "have a currency such as `USD notional`, so no sum adds them to what is billed.",
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.metric or "kind" not in self.model_fields_set:
            raise ValueError("a rule needs metric and kind")
        return self


class CostEvent(Section):
    """Which log records are a cost, and where the fields of their entries come from."""

    event: _Pattern = key("", "The event name of the records that the rule is for.")
    amount: Names = key((), "The attributes that may have the amount; the first match is used.")
    currency: _Sources = key((), "ISO 4217 code.")
    category: _Sources = key((), "Category of the entries.")
    resource_id: _Sources = key((), "The resource that caused the cost.")
    region: _Sources = key((), "Region of the entries.")
    tags: _Tags = key(
        None,
        "Tags of the entries. Without it, all attributes that no other field uses.",
        allowed="a mapping of names to attribute:NAME or constants",
    )
    notional: Flag = key(False, "Whether nobody is billed for it, as with `cost_rules`.")

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.event or not self.amount:
            raise ValueError("a rule needs event and amount")
        return self


class LlmPrice(Section):
    """The price of a language model's tokens."""

    model: _Pattern = key("", "As in gen_ai.response.model or gen_ai.request.model.")
    provider: _Pattern = key("*", "As in gen_ai.provider.name or gen_ai.system.")
    input: _Price = key(Decimal(0), "Price of a million input tokens.")
    output: _Price = key(Decimal(0), "Price of a million output tokens.")
    cached_input: _OptionalPrice = key(
        None,
        "Price of a million tokens that are read from a cache. Default: that of input.",
        ge=0,
        le=1_000_000,
    )
    cache_write: _OptionalPrice = key(
        None,
        "Price of a million tokens that are written to a cache. Default: that of input.",
        ge=0,
        le=1_000_000,
    )
    currency: Annotated[str, BeforeValidator(parsers.parse_currency)] = key(
        "USD", "Currency of both prices.", allowed="an ISO 4217 code such as USD"
    )

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.model or not {"input", "output"} <= self.model_fields_set:
            raise ValueError("a price needs model, input and output")
        return self


class Openfinops(Section):
    """Where data is stored, and how.

    `settings.ExporterSettings` has an attribute of the same name for each key.
    """

    unsupported: ClassVar[Mapping[str, str]] = {
        "endpoint": "the address to listen on is receivers.otlp.protocols.grpc.endpoint; the "
        "database's is connection_string",
        "retry_on_failure": "failed writes are always retried; remove it",
        "sending_queue": "the queue is always there, on disk: spool_max_size_mib bounds it",
        "timeout": "remove it; a write ends when the database answers",
    }

    backend: Annotated[
        Literal["sqlite", "memory", "postgresql", "timescaledb"],
        BeforeValidator(parsers.parse_backend),
    ] = key(
        "sqlite",
        "Where rows are stored. Without it, the connection string decides.",
        allowed="sqlite, memory (or in_memory), postgresql, timescaledb",
    )
    connection_string: Annotated[str, BeforeValidator(parsers.parse_connection_string)] = key(
        "sqlite:///openfinops_telemetry.db",
        "The file or database. The backend memory has none. "
        "The default applies to the backend sqlite only.",
        allowed="sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host:5432/"
        "database, or libpq's key=value form",
        variable="OPENFINOPS_DB_URL",
        repr=False,
    )
    retention_days: Number = key(
        90.0,
        "Rows older than this are deleted. 36500 (a hundred years) keeps all rows.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    cost_retention_days: Number = key(
        3.0 * _YEAR_DAYS,
        "Cost entries older than this are deleted; imported bills are kept. If this key is not set "
        "and retention_days is longer, retention_days applies to costs as well.",
        allowed=", at least retention_days",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    max_past_days: OptionalNumber = key(
        None,
        "Data points that are older than this when they arrive are rejected by name. Without it "
        "any age is accepted, and retention_days deletes old rows later.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    max_future_days: Number = key(
        7.0,
        "Data points that are further ahead of this machine's clock are rejected by name. "
        "Otherwise a sender with a wrong clock could create partitions for the year 2255.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    batch_size: Count = key(
        100,
        "A batch of this many data points is written without waiting for the interval. "
        "Under load batches grow larger.",
        collector="processors.batch.send_batch_size",
        ge=1,
        le=1_000_000,
    )
    batch_interval_seconds: Seconds = key(
        60.0,
        "A batch is written at the latest this long after its first data point. Other processes "
        "see data after this time at the latest.",
        collector="processors.batch.timeout",
        gt=0,
        le=SECONDS_PER_DAY,
    )
    enable_compression: Flag = key(False, "Compress old rows.", backends=_TIMESCALEDB)
    compress_after_seconds: Seconds = key(
        float(SECONDS_PER_DAY),
        "With enable_compression: a chunk is compressed this long after its end. Late rows "
        "can still be stored, more slowly.",
        backends=_TIMESCALEDB,
        gt=0,
        le=100 * _YEAR_DAYS * SECONDS_PER_DAY,
    )
    direct_compress: _DirectCompress = key(
        "auto",
        "With enable_compression: whether batches are written compressed. auto does it for batches "
        "of 50,000 data points or more, from TimescaleDB 2.28 on; earlier versions could lose "
        "rows.",
        backends=_TIMESCALEDB,
    )
    chunk_interval_seconds: Seconds = key(
        float(SECONDS_PER_DAY),
        "How much time one chunk holds; applies to chunks that are created later. Rows are "
        "compressed and deleted by whole chunks.",
        backends=_TIMESCALEDB,
        ge=60,
        le=_YEAR_DAYS * SECONDS_PER_DAY,
    )
    rollups: Switch = key(
        True,
        "Create roll-ups of number points and of costs by hour and day. The database keeps them "
        "up to date, and long queries read them. off keeps existing roll-ups unchanged.",
        backends=_TIMESCALEDB,
    )
    pool_min_connections: Count = key(
        1,
        "Connections for reading that are kept open.",
        allowed=", at most pool_max_connections",
        backends=_SERVERS,
        ge=0,
        le=1000,
    )
    pool_max_connections: Count = key(
        4,
        "How many reads may run at the same time; others wait for a connection. The writer has "
        "a connection of its own.",
        backends=_SERVERS,
        ge=1,
        le=1000,
    )
    max_memory_entries: Count = key(
        10_000,
        "Data points that the backend memory keeps; the oldest are removed first.",
        ge=1,
        le=1_000_000_000,
    )
    max_queued_entries: Count = key(
        1_000_000,
        "Data points that may wait in memory for a slow backend. More than these wait in the spool "
        "only; without a spool, senders get an error that makes them retry.",
        allowed=", at least batch_size",
        collector="sending_queue.queue_size",
        ge=1,
        le=1_000_000_000,
    )
    max_series: Count = key(
        1_000_000,
        "Series that are accepted since the start. Points of further series are rejected by name, "
        "so that a sender with a new attribute value in each point harms only itself. A "
        "known series takes about 1 KiB of memory.",
        ge=1,
        le=1_000_000_000,
    )
    memory_limit_mib: Count = key(
        2048,
        "Memory in MiB that the process may use (docs/robustness.md). Above half of it, requests "
        "wait in the spool only; above five eighths, senders get an error that makes them retry. "
        "Known series, batches and the largest request are bounded in proportion.",
        collector="processors.memory_limiter.limit_mib",
        ge=128,
        le=2**20,
    )
    spool: Switch = key(
        True,
        "Whether a request is written to disk before it is acknowledged. Without it, data that is "
        "acknowledged and not yet stored is lost when the process is killed. The backend memory "
        "has no spool.",
        collector="sending_queue.storage",
    )
    spool_path: FilePath = key(
        None,
        "The file of the spool. Without it `<database file>.spool` for sqlite, else "
        "`openfinops-spool.db` in the working folder. It belongs to one exporter and must outlive "
        "its container. Requests that exporters in process left in files beside it are stored as "
        "well (docs/openfinops.md).",
        allowed="the path of a file in a folder that exists",
        collector="extensions.file_storage.directory",
    )
    spool_max_size_mib: Count = key(
        4096,
        "MiB of compressed requests that may wait in the spool while the database is unavailable. "
        "Above it, senders get an error that makes them retry.",
        collector="sending_queue.queue_size",
        ge=1,
        le=2**20,
    )
    spool_max_age_seconds: Seconds = key(
        604_800.0,
        "While the oldest request in the spool is older than this, senders get an error that "
        "makes them retry.",
        gt=0,
    )
    retry_window_seconds: Seconds = key(
        3600.0,
        "How long a request is remembered. If a client sends the same bytes again because it got "
        "no reply, they are acknowledged and not stored twice.",
        ge=0,
        le=604_800,
    )
    shutdown_timeout_seconds: Seconds = key(
        25.0,
        "How long the shutdown may take to write accepted data. "
        "Kubernetes kills after 30 s by default.",
        gt=0,
        le=3600,
    )
    cluster_id_attributes: Names = key(
        CLUSTER_ID_ATTRIBUTES,
        "Where cluster_id comes from. The first name is looked up in the attributes of the "
        "data point, then all names in the resource; the first match is used.",
    )
    node_id_attributes: Names = key(
        NODE_ID_ATTRIBUTES,
        "Where node_id comes from, in the same way.",
    )
    cost_rules: Annotated[tuple[Rule, ...], BeforeValidator(parsers.parse_list)] = key(
        (),
        "Which metrics are costs. The first rule that matches a series applies; the built-in "
        "rules come last.",
        allowed="a list of rules, see docs/costs.md",
    )
    default_cost_rules: Switch = key(
        True,
        "Whether the built-in rules apply: to metrics that are named `openfinops.cost` or measured "
        "in a currency, and to those of OpenCost.",
    )
    cost_events: Annotated[tuple[CostEvent, ...], BeforeValidator(parsers.parse_list)] = key(
        (),
        "Which log records are costs besides those named `openfinops.cost`. The first rule that "
        "matches a record applies.",
        allowed="a list of rules, see docs/costs.md",
    )
    llm_prices: Annotated[tuple[LlmPrice, ...], BeforeValidator(parsers.parse_list)] = key(
        (),
        "The price of a million tokens of a language model. The first match applies; without a "
        "match the library genai-prices is used, if it is installed.",
        allowed="a list of prices, see docs/costs.md",
    )


class Exporters(Section):
    """Where data is stored."""

    openfinops: Openfinops = Openfinops()
