"""Every key of a configuration file: its type, default, bounds and meaning.

The models say what a user writes; what the exporter runs with is `exporter.config.Settings`.
Each key carries the texts from which error messages and docs/configuration.md are made. Each
section also lists the keys that the Collector has there and this exporter has not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Final, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic.fields import FieldInfo

from exporter.config import values

__all__ = ["KEYS", "VARIABLES", "Configuration", "File", "Pipeline", "Section", "section_at"]

_YEAR_DAYS: Final = 365
_DAY_SECONDS: Final = 86_400

_Seconds = Annotated[float, BeforeValidator(values.read_seconds)]
_Duration = Annotated[
    float, BeforeValidator(values.read_collector_duration), Field(ge=0.001, le=20 * _DAY_SECONDS)
]
_Number = BeforeValidator(values.read_number)
_Count = Annotated[int, _Number]
_NotNothing = BeforeValidator(values.refuse_nothing)
_OptionalDuration = Annotated[_Duration | None, _NotNothing]
_OptionalCount = Annotated[_Count | None, _NotNothing]
_Flag = Annotated[bool, BeforeValidator(values.read_flag)]
_Switch = Annotated[bool, BeforeValidator(values.read_switch)]
_DirectCompress = Annotated[Literal["auto", "on", "off"], BeforeValidator(values.read_mode)]
_Names = Annotated[list[str], BeforeValidator(values.read_names)]

_Path = Annotated[str | None, BeforeValidator(values.read_path), _NotNothing]
_Token = Annotated[str | None, BeforeValidator(values.read_token), _NotNothing]

_PRICE_TEXT: Final = "a number from 0 to 1000000, such as 2.50"
_DURATION_TEXT: Final = "a duration with its unit, from 1ms to 480h, such as 30s"


def _key(default: Any, allowed: str, meaning: str, *, collector: str = "", **bounds: Any) -> Any:
    """One key: `allowed` goes into errors and docs, `collector` names its counterpart there."""
    texts: dict[str, JsonValue] = {"allowed": allowed, "collector": collector}
    return Field(default, description=meaning, json_schema_extra=texts, **bounds)


class Section(BaseModel):
    """A mapping in the file; an empty one (`grpc:`) stands for all defaults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    unsupported: ClassVar[Mapping[str, str]] = {}
    planned: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _nothing_is_all_defaults(cls, value: object) -> object:
        return {} if value is None else value


class ServerParameters(Section):
    """How long connections live; gRPC's own defaults where nothing is written."""

    max_connection_idle: _OptionalDuration = _key(
        None,
        _DURATION_TEXT,
        "Close a connection that had no request for this long; without it after 10 minutes.",
    )
    max_connection_age: _OptionalDuration = _key(
        None,
        _DURATION_TEXT,
        "Close a connection of this age, so that senders spread over several receivers.",
    )
    max_connection_age_grace: _OptionalDuration = _key(
        None, _DURATION_TEXT, "How long a request may still take on a connection of that age."
    )
    time: _OptionalDuration = _key(
        None,
        _DURATION_TEXT,
        "Ping a client that was silent for this long while it has a request under way, to see "
        "whether it is there; without it after 5 minutes.",
    )
    timeout: _OptionalDuration = _key(
        None,
        _DURATION_TEXT,
        "Close the connection if such a ping is not answered in this time; without it after 20 "
        "seconds.",
    )


class EnforcementPolicy(Section):
    """What clients may do to keep a connection open."""

    min_time: _OptionalDuration = _key(
        None,
        _DURATION_TEXT,
        "A client that pings more often than this is disconnected; without it 5 minutes.",
    )
    permit_without_stream: Annotated[_Flag | None, _NotNothing] = _key(
        None, "true or false", "Whether clients may ping while no request is under way."
    )


class Keepalive(Section):
    """Life of connections."""

    server_parameters: ServerParameters = ServerParameters()
    enforcement_policy: EnforcementPolicy = EnforcementPolicy()


class Tls(Section):
    """The receiver's certificate, and which clients it wants one of."""

    unsupported = {
        **dict.fromkeys(
            ["ca_file", "ca_pem", "include_system_ca_certs_pool"],
            "clients' certificates are verified by the authorities in client_ca_file alone",
        ),
        **dict.fromkeys(
            ["insecure", "insecure_skip_verify", "server_name_override"],
            "it is for clients; a receiver without the section tls speaks plain text",
        ),
        **dict.fromkeys(
            ["cipher_suites", "curve_preferences", "include_insecure_cipher_suites"],
            "gRPC for Python chooses by itself",
        ),
        "cert_pem": "write the certificate into a file and give cert_file",
        "client_ca_file_reload": "every file is looked at once in reload_interval; remove it",
        "key_pem": "write the key into a file that only this user may read and give key_file",
        "max_version": "gRPC for Python always speaks TLS 1.2 and 1.3; remove it",
        "tpm": "the key is read from key_file",
    }

    cert_file: _Path = _key(
        None,
        "the path of a PEM file",
        "The receiver's certificate, followed by those between it and its authority. With it only "
        "TLS is spoken.",
    )
    key_file: _Path = _key(
        None, "the path of a PEM file", "The key of the certificate, not encrypted."
    )
    client_ca_file: _Path = _key(
        None,
        "the path of a PEM file",
        "The authorities of clients' certificates. With it a client needs one, and is refused "
        "without.",
    )
    min_version: Annotated[Literal["1.2"], BeforeValidator(values.read_version)] = _key(
        "1.2",
        "1.2; gRPC for Python always speaks TLS 1.2 and 1.3",
        "The lowest version of TLS that is spoken.",
    )
    reload_interval: _Duration = _key(
        60.0,
        _DURATION_TEXT,
        "How often at most the files are looked at; one that changed is read again. In seconds "
        "here; the Collector never looks unless told to.",
    )


class Auth(Section):
    """Who may send."""

    authenticator: Annotated[str | None, _NotNothing] = _key(
        None,
        "the name of a bearertokenauth in extensions",
        "The extension that decides who may send. Without it everybody may.",
    )


class Grpc(Section):
    """OTLP over gRPC."""

    unsupported = {
        "include_metadata": "request metadata is not kept",
        "middlewares": "remove it",
        "read_buffer_size": "gRPC for Python sizes its buffers itself",
        "transport": "write unix:///path as the endpoint for a Unix socket; all else is TCP",
        "write_buffer_size": "gRPC for Python sizes its buffers itself",
    }

    endpoint: Annotated[str, BeforeValidator(values.read_endpoint)] = _key(
        "localhost:4317",
        "host:port such as localhost:4317, 0.0.0.0:4317, [::1]:4317 or :4317, "
        "or unix:///absolute/path",
        "Where to listen. `0.0.0.0:4317` or `:4317` listens on every interface, "
        "port 0 takes a free port and says which.",
    )
    max_recv_msg_size_mib: _Count = _key(
        64,
        "a whole number from 1 to 2047",
        "Largest request in MiB, after decompression; at most a thirty-second of memory_limit_mib "
        "counts. The Collector's own default is 4.",
        ge=1,
        le=2047,
    )
    max_concurrent_streams: _OptionalCount = _key(
        None,
        "a whole number from 1 to 2147483647",
        "Requests that one connection may have under way at the same time; without it 100.",
        ge=1,
        le=2**31 - 1,
    )
    max_connections: _Count = _key(
        1000,
        "a whole number from 1 to 1000000",
        "Clients that may be connected at the same time; further ones are disconnected and come "
        "back later. Each needs a file descriptor (`ulimit -n`). The Collector has no such key.",
        ge=1,
        le=1_000_000,
    )
    tls: Tls = Tls()
    auth: Auth = Auth()
    keepalive: Keepalive = Keepalive()

    @model_validator(mode="before")
    @classmethod
    def _security_is_not_empty(cls, value: object) -> object:
        # Elsewhere an empty section stands for the defaults; here they are no security at all.
        for name in ("tls", "auth"):
            if isinstance(value, dict) and name in value and not value[name]:
                raise ValueError(
                    f"the section {name} is there and empty, which would secure nothing; write "
                    "its keys, or remove it"
                )
        return value


class Protocols(Section):
    """The protocols of the OTLP receiver."""

    unsupported = {
        "http": "remove it and let senders use gRPC (OTEL_EXPORTER_OTLP_PROTOCOL=grpc, port 4317)",
    }
    planned = frozenset({"http"})
    grpc: Grpc = Grpc()


class Otlp(Section):
    """The OTLP receiver."""

    protocols: Protocols = Protocols()


class Receivers(Section):
    """Where data comes from."""

    otlp: Otlp = Otlp()


class Batch(Section):
    """The Collector's batch processor; what is not written here keeps the exporter's default."""

    unsupported = {
        "metadata_cardinality_limit": "request metadata is not kept",
        "metadata_keys": "request metadata is not kept",
    }

    timeout: _OptionalDuration = _key(
        None,
        "a duration with its unit, from 1ms to 24h, such as 10s",
        "Another way to write batch_interval_seconds.",
        collector="timeout",
        le=_DAY_SECONDS,
    )
    send_batch_size: _OptionalCount = _key(
        None,
        "a whole number from 1 to 1000000",
        "Another way to write batch_size.",
        collector="send_batch_size",
        ge=1,
        le=1_000_000,
    )
    send_batch_max_size: _Count = _key(
        0,
        "0, or a whole number that is at least send_batch_size",
        "Accepted, without effect: under load batches grow instead of waiting.",
        collector="send_batch_max_size",
        ge=0,
        le=2**32 - 1,
    )

    @model_validator(mode="after")
    def _limit_is_not_below_size(self) -> Self:
        if 0 < self.send_batch_max_size < (self.send_batch_size or 0):
            raise ValueError(
                f"send_batch_max_size is {self.send_batch_max_size} and send_batch_size is "
                f"{self.send_batch_size}; the first must be 0 or at least the second"
            )
        return self


class Processors(Section):
    """What happens to data on the way."""

    batch: Batch = Batch()


_Sources = Annotated[list[str], BeforeValidator(values.read_sources)]
_SOURCES_TEXT: Final = (
    "attribute:NAME, or a constant; or a list of them, of which the first that gives something "
    "counts"
)


class Rule(Section):
    """Which series are a cost, and where the fields of their entries come from."""

    metric: Annotated[str, BeforeValidator(values.read_pattern)] = _key(
        "",
        "the name of a metric; * stands for any letters, ? for one",
        "Which metric the rule is about.",
    )
    attributes: dict[str, str] = _key(
        {},
        "a mapping of attribute names to their values; * stands for any letters, ? for one",
        "Which of its series: attributes of point or resource that they have.",
    )
    kind: Literal["amount", "cumulative", "hourly_rate", "none"] = _key(
        "none",
        "amount, cumulative, hourly_rate, none",
        "What a value is: an amount, a total that grows, or an amount an hour. With none they are "
        "never a cost.",
    )
    category: _Sources = _key([], _SOURCES_TEXT, "Category of the entries.")
    resource_id: _Sources = _key([], _SOURCES_TEXT, "What cost it.")
    currency: _Sources = _key([], _SOURCES_TEXT, "ISO 4217 code.")
    region: _Sources = _key([], _SOURCES_TEXT, "Region of the entries.")
    tags: Annotated[dict[str, str] | None, _NotNothing] = _key(
        None,
        "a mapping of names to attribute:NAME or constants",
        "Tags of the entries; without it all attributes that no other field took.",
    )
    staleness: _Seconds = _key(
        600.0,
        "seconds above 0, at most 86400, or a duration such as 10m",
        "The longest time that one point of an hourly_rate pays for.",
        gt=0,
        le=_DAY_SECONDS,
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.metric or "kind" not in self.model_fields_set:
            raise ValueError("a rule needs metric and kind")
        return self


class LlmPrice(Section):
    """What the tokens of a language model cost."""

    model: Annotated[str, BeforeValidator(values.read_pattern)] = _key(
        "",
        "the name of a model; * stands for any letters, ? for one",
        "As in gen_ai.response.model or gen_ai.request.model.",
    )
    provider: Annotated[str, BeforeValidator(values.read_pattern)] = _key(
        "*", "the name of a provider, likewise", "As in gen_ai.provider.name or gen_ai.system."
    )
    input: Annotated[Decimal, BeforeValidator(values.read_price)] = _key(
        Decimal(0), _PRICE_TEXT, "Price of a million tokens that are sent.", ge=0, le=1_000_000
    )
    output: Annotated[Decimal, BeforeValidator(values.read_price)] = _key(
        Decimal(0), _PRICE_TEXT, "Price of a million tokens that are received.", ge=0, le=1_000_000
    )
    currency: Annotated[str, BeforeValidator(values.read_currency)] = _key(
        "USD", "an ISO 4217 code such as USD", "Currency of both."
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.model or not {"input", "output"} <= self.model_fields_set:
            raise ValueError("a price needs model, input and output")
        return self


class Openfinops(Section):
    """Where data goes, and how."""

    unsupported = {
        "endpoint": "the address to listen on is receivers.otlp.protocols.grpc.endpoint; the "
        "database's is connection_string",
        "retry_on_failure": "failed writes are always tried again; remove it",
        "sending_queue": "the queue is always there, on disk: spool_max_size_mib bounds it",
        "timeout": "remove it; a write ends when the database answers",
    }

    backend: Annotated[
        Literal["sqlite", "memory", "postgresql", "timescaledb"],
        BeforeValidator(values.read_backend),
    ] = _key(
        "sqlite",
        "sqlite, memory (or in_memory), postgresql, timescaledb",
        "Where rows are kept. Without it, the connection string decides.",
    )
    connection_string: Annotated[str, BeforeValidator(values.read_connection_string)] = _key(
        "sqlite:///openfinops_telemetry.db",
        "sqlite:///relative.db, sqlite:////absolute.db, postgresql://user:password@host:5432/"
        "database, or libpq's key=value form",
        "Which file or database. The backend memory has none. "
        "The default stands for the backend sqlite only.",
        repr=False,
    )
    retention_days: Annotated[float, _Number] = _key(
        90.0,
        "a number above 0, at most 36500",
        "Rows older than this are deleted. 36500 (a hundred years) keeps them for ever.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    max_past_days: Annotated[float | None, _Number, _NotNothing] = _key(
        None,
        "a number above 0, at most 36500",
        "Data points that are older than this when they arrive are rejected by name. Without it "
        "any age is taken, until retention_days deletes it.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    max_future_days: Annotated[float, _Number] = _key(
        7.0,
        "a number above 0, at most 36500",
        "Data points that are further ahead of this machine's clock than this are rejected by "
        "name: a sender whose clock is wrong must not fill partitions of the year 2255.",
        gt=0,
        le=100 * _YEAR_DAYS,
    )
    batch_size: _Count = _key(
        100,
        "a whole number from 1 to 1000000",
        "Data points after which a batch is written without waiting for the interval. "
        "Under load batches grow past it.",
        collector="processors.batch.send_batch_size",
        ge=1,
        le=1_000_000,
    )
    batch_interval_seconds: _Seconds = _key(
        60.0,
        "seconds above 0, at most 86400, or a duration such as 200ms, 5s or 1m",
        "A batch is written at the latest this long after its first data point, so other "
        "processes see data this late at most.",
        collector="processors.batch.timeout",
        gt=0,
        le=_DAY_SECONDS,
    )
    enable_compression: _Flag = _key(
        False, "true or false", "Compress old rows (timescaledb only)."
    )
    compress_after_seconds: _Seconds = _key(
        float(_DAY_SECONDS),
        "seconds above 0, at most 3153600000, or a duration such as 12h",
        "With enable_compression: how long after the end of a chunk it is compressed. Late rows "
        "still go in, by a slower way (timescaledb only).",
        gt=0,
        le=100 * _YEAR_DAYS * _DAY_SECONDS,
    )
    direct_compress: _DirectCompress = _key(
        "auto",
        "auto, on, off",
        "With enable_compression: whether batches are written compressed. auto does it for batches "
        "of 10,000 data points or more, from TimescaleDB 2.28 on; earlier versions could lose rows "
        "(timescaledb only).",
    )
    chunk_interval_seconds: _Seconds = _key(
        float(_DAY_SECONDS),
        "seconds from 60 to 31536000, or a duration such as 6h",
        "How much time one chunk holds, for chunks yet to be made. Rows are compressed and deleted "
        "by whole chunks (timescaledb only).",
        ge=60,
        le=_YEAR_DAYS * _DAY_SECONDS,
    )
    rollups: _Switch = _key(
        True,
        "on or off",
        "Make the roll-ups metric_rollups_hourly and metric_rollups_daily, which the database "
        "keeps up to date and long queries read. off leaves those that are there as they are "
        "(timescaledb only).",
    )
    pool_min_connections: _Count = _key(
        1,
        "a whole number from 0 to 1000, at most pool_max_connections",
        "Connections for reading that are kept open (postgresql and timescaledb).",
        ge=0,
        le=1000,
    )
    pool_max_connections: _Count = _key(
        4,
        "a whole number from 1 to 1000",
        "How many reads may run at once; others wait for one of these connections. Writing has "
        "one of its own (postgresql and timescaledb).",
        ge=1,
        le=1000,
    )
    max_memory_entries: _Count = _key(
        10_000,
        "a whole number from 1 to 1000000000",
        "Data points that the backend memory keeps; the oldest give way.",
        ge=1,
        le=1_000_000_000,
    )
    max_queued_entries: _Count = _key(
        1_000_000,
        "a whole number from 1 to 1000000000, at least batch_size",
        "Data points that may wait in memory for a slow backend. Further ones wait in the spool "
        "alone; without it, senders are refused with an error that makes them try again.",
        collector="sending_queue.queue_size",
        ge=1,
        le=1_000_000_000,
    )
    max_series: _Count = _key(
        1_000_000,
        "a whole number from 1 to 1000000000",
        "Series that are taken since the start; points of further ones are rejected by name, so "
        "that a sender that makes up a new attribute value for each point harms only itself. A "
        "known series takes about 1 KiB of memory.",
        ge=1,
        le=1_000_000_000,
    )
    memory_limit_mib: _Count = _key(
        2048,
        "a whole number of MiB from 128 to 1048576",
        "What the process may take in memory, with moments of a quarter more "
        "(docs/robustness.md). From five eighths of it on, requests wait in the spool alone; from "
        "three quarters on, senders are refused with an error that makes them try again. Known "
        "series, batches and the largest request are bounded in proportion.",
        collector="processors.memory_limiter.limit_mib",
        ge=128,
        le=2**20,
    )
    spool: _Switch = _key(
        True,
        "on or off",
        "Whether a request is written to disk before it is acknowledged. Without it, what was "
        "acknowledged and not yet stored is lost when the process is killed. The backend memory "
        "has none.",
        collector="sending_queue.storage",
    )
    spool_path: _Path = _key(
        None,
        "the path of a file in a folder that exists",
        "The file of the spool. Without it `<database file>.spool` for sqlite, else "
        "`openfinops-spool.db` in the working folder. It belongs to one exporter and must outlive "
        "its container.",
        collector="extensions.file_storage.directory",
    )
    spool_max_size_mib: _Count = _key(
        4096,
        "a whole number of MiB from 1 to 1048576",
        "Compressed requests that may wait in the spool while the database is away; beyond it "
        "senders are refused with an error that makes them try again.",
        collector="sending_queue.queue_size",
        ge=1,
        le=2**20,
    )
    spool_max_age_seconds: _Seconds = _key(
        604_800.0,
        "seconds above 0, or a duration such as 30m or 168h",
        "While the oldest request in the spool is older than this, senders are refused likewise.",
        gt=0,
    )
    retry_window_seconds: _Seconds = _key(
        3600.0,
        "seconds from 0 to 604800, or a duration such as 10m or 1h",
        "For how long a request is known again: the same bytes once more, as clients send them "
        "when an answer was lost, are acknowledged and not stored twice.",
        ge=0,
        le=604_800,
    )
    shutdown_timeout_seconds: _Seconds = _key(
        25.0,
        "seconds above 0, at most 3600, or a duration such as 30s",
        "How long stopping may take to write what was accepted. "
        "Kubernetes kills after 30 s unless told otherwise.",
        gt=0,
        le=3600,
    )
    cluster_id_attributes: _Names = _key(
        ["cluster_id", "k8s.cluster.name", "k8s.cluster.uid", "deployment.environment.name"],
        "a list of attribute names",
        "Where cluster_id is taken from: the first name is looked for in the attributes of the "
        "data point, then all of them in the resource; the first that is found counts.",
    )
    node_id_attributes: _Names = _key(
        ["node_id", "k8s.node.name", "host.name", "host.id", "service.instance.id"],
        "a list of attribute names",
        "Likewise for node_id.",
    )
    cost_rules: list[Rule] = _key(
        [],
        "a list of rules, see docs/costs.md",
        "Which metrics carry cost. The first rule that matches a series counts; those that are "
        "shipped come after them.",
    )
    default_cost_rules: _Switch = _key(
        True,
        "on or off",
        "Whether the shipped rules count: metrics named `openfinops.cost` or measured in a "
        "currency, and those of OpenCost.",
    )
    llm_prices: list[LlmPrice] = _key(
        [],
        "a list of prices, see docs/costs.md",
        "What a million tokens of a language model cost. The first that matches counts; then the "
        "library genai-prices is asked, where it is installed.",
    )


class Exporters(Section):
    """Where data goes."""

    openfinops: Openfinops = Openfinops()


class Logs(Section):
    """The exporter's own log."""

    unsupported = dict.fromkeys(
        ["development", "disable_caller", "disable_stacktrace", "encoding", "error_output_paths",
         "initial_fields", "output_paths", "processors", "sampling"],
        "logs are lines of text on standard error",
    )  # fmt: skip

    level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(values.read_log_level)
    ] = _key(
        "INFO",
        "DEBUG, INFO, WARN (or WARNING) or ERROR, in any case",
        "From which level on the exporter's own log lines are written.",
    )


class Telemetry(Section):
    """What the exporter tells about itself."""

    unsupported = dict.fromkeys(
        ["metrics", "resource", "traces"], "the exporter's own telemetry is its log; remove it"
    )
    logs: Logs = Logs()


class Service(Section):
    """The part of `service` that holds settings."""

    telemetry: Telemetry = Telemetry()


class BearerTokenAuth(Section):
    """The tokens of which each request has to show one."""

    unsupported = {
        "header": "clients send the token in the header authorization",
        "tokens": "write them into a file, one a line, and give its path in filename",
    }

    token: _Token = _key(
        None,
        "text without spaces, best written ${env:NAME}",
        "The only token that is let in. A file is better: it can hold several, and change.",
        repr=False,
    )
    filename: _Path = _key(
        None,
        "the path of a text file",
        "Holds one token a line; empty lines and lines that begin with # do not count. It is read "
        "again when it changes. With it token has no effect.",
    )
    scheme: Annotated[str, BeforeValidator(values.read_scheme)] = _key(
        "Bearer",
        "a word, or nothing",
        "What stands before the token in the header authorization.",
    )


class Extensions(Section):
    """What a receiver may name."""

    bearertokenauth: BearerTokenAuth = BearerTokenAuth()


class Configuration(Section):
    """One component of each kind, under its plain name: what is left when a pipeline is chosen."""

    extensions: Extensions = Extensions()

    receivers: Receivers = Receivers()
    processors: Processors = Processors()
    exporters: Exporters = Exporters()
    service: Service = Service()


_Components = Annotated[
    dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)
]


class FileService(Section):
    """The section `service` as it stands in the file."""

    extensions: list[str] = _key([], "a list of names from extensions", "")
    pipelines: _Components = {}
    telemetry: Any = None


class File(Section):
    """The top level as it stands in the file, with components under any name."""

    unsupported = {
        "connectors": "this exporter has no connectors; remove it",
    }

    extensions: _Components = {}
    receivers: _Components = {}
    processors: _Components = {}
    exporters: _Components = {}
    service: FileService = FileService()


class Pipeline(Section):
    """One entry of service.pipelines."""

    receivers: list[str] = _key([], "a list of names from receivers", "")
    processors: list[str] = _key([], "a list of names from processors", "")
    exporters: list[str] = _key([], "a list of names from exporters", "")


def section_at(root: type[Section], path: tuple[str | int, ...]) -> type[Section] | None:
    """The section that a path leads to; None where it leads to anything else."""
    section: type[Section] | None = root
    for part in path:
        if isinstance(part, int) and section is not None:
            continue  # an element of a list of sections
        known = section.model_fields.get(str(part)) if section else None
        section = (_section_of(known) or _element_of(known)) if known else None
    return section


def _element_of(key: FieldInfo) -> type[Section] | None:
    elements = [one for one in get_args(key.annotation) if isinstance(one, type)]
    return next((one for one in elements if issubclass(one, Section)), None)


def _section_of(key: FieldInfo) -> type[Section] | None:
    kind = key.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


def _keys(section: type[Section], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, key in section.model_fields.items():
        inner = _section_of(key)
        if inner is None:
            yield (*path, name), key
        else:
            yield from _keys(inner, (*path, name))


KEYS: Final[Mapping[tuple[str, ...], FieldInfo]] = dict(_keys(Configuration, ()))
"""Every key that holds a value, by its path."""

_ENDPOINT: Final = ("receivers", "otlp", "protocols", "grpc", "endpoint")
_EXPORTER: Final = ("exporters", "openfinops")
# Of mappings, which a variable cannot hold.
_LISTS: Final = frozenset({"cost_rules", "llm_prices"})

VARIABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "OPENFINOPS_ENDPOINT": _ENDPOINT,
    "OPENFINOPS_LOG_LEVEL": ("service", "telemetry", "logs", "level"),
    **{
        "OPENFINOPS_DB_URL"
        if path[2] == "connection_string"
        else f"OPENFINOPS_{path[2]}".upper(): path
        for path in KEYS
        if path[:2] == _EXPORTER and path[2] not in _LISTS
    },
}
"""The key that each environment variable sets."""
