"""The settings that the exporter runs with: frozen, plain values from a valid configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal

from exporter.config.connection_string import HIDDEN, redacted
from exporter.config.exporter_keys import CostEvent, LlmPrice, Openfinops, Rule
from exporter.config.layers import Layer
from exporter.config.receiver_keys import BearerTokenAuth, Grpc, Keepalive, Tls
from exporter.config.schema import KEYS, Configuration
from exporter.config.yaml_document import dotted
from exporter.costs.events import CostEventRule
from exporter.costs.gen_ai import TokenPrice
from exporter.costs.rules import CostRule

_BYTES_IN_MIB: Final = 1024 * 1024
_TLS: Final = ("receivers", "otlp", "protocols", "grpc", "tls")
_TOKENS: Final = ("extensions", "bearertokenauth")
_BATCH_PROCESSOR: Final = ("processors", "batch")


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """Keepalive of gRPC connections; None leaves gRPC's own default."""

    max_connection_idle_milliseconds: int | None = None
    max_connection_age_milliseconds: int | None = None
    max_connection_age_grace_milliseconds: int | None = None
    time_milliseconds: int | None = None
    timeout_milliseconds: int | None = None
    min_time_milliseconds: int | None = None
    permit_without_stream: bool | None = None


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Certificate files; clients need no certificate if `client_ca_file` is None."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None
    reload_interval_seconds: float


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Bearer tokens; exactly one of `token`, which is a secret, and `path` is set."""

    token: str | None = field(repr=False)
    path: Path | None
    scheme: str


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How the gRPC receiver listens.

    Attributes:
        endpoint: host:port, or unix:///path.
        takes_metrics: False if metrics are refused; cost events are always accepted.
        max_message_bytes: largest request, after decompression.
        max_concurrent_streams: of one connection; None for the receiver's own limit.
        max_connections: at the same time.
        tls: None for plain text.
        tokens: None if every client may send.
        keepalive: pings, and how long connections stay open.
    """

    endpoint: str
    takes_metrics: bool
    max_message_bytes: int
    max_concurrent_streams: int | None
    max_connections: int
    tls: TlsSettings | None
    tokens: TokenSettings | None
    keepalive: KeepaliveSettings


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Where data is stored, and how: one attribute for each key of exporters.openfinops.

    The keys are declared in `exporter_keys.Openfinops`, with their defaults and meanings.
    `max_past_days` is None for any age, `spool_path` for the default place, `connection_string` for
    the backend memory. The connection string may hold a password, so the repr omits it.
    """

    backend: str
    connection_string: str | None = field(repr=False)
    retention_days: float
    cost_retention_days: float
    max_past_days: float | None
    max_future_days: float
    batch_size: int
    batch_interval_seconds: float
    enable_compression: bool
    compress_after_seconds: float
    direct_compress: Literal["auto", "on", "off"]
    chunk_interval_seconds: float
    rollups: bool
    pool_min_connections: int
    pool_max_connections: int
    max_memory_entries: int
    max_queued_entries: int
    max_series: int
    memory_limit_mib: int
    spool: bool
    spool_path: Path | None
    spool_max_size_mib: int
    spool_max_age_seconds: float
    retry_window_seconds: float
    shutdown_timeout_seconds: float
    cluster_id_attributes: tuple[str, ...]
    node_id_attributes: tuple[str, ...]
    cost_rules: tuple[CostRule, ...]
    default_cost_rules: bool
    cost_events: tuple[CostEventRule, ...]
    llm_prices: tuple[TokenPrice, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the exporter runs with.

    Attributes:
        source: the file, or "built-in defaults".
        receiver: how it listens.
        exporter: what it does with the data.
        log_level: DEBUG, INFO, WARNING or ERROR, as `logging` names them.
        warnings: settings that are accepted but have no effect or look wrong; free of secrets.
        origins: the source of each key that is not at its default.
        table: every setting as (key, value, source) for people, in the order of the documentation.
            Connection strings are redacted, tokens hidden.
    """

    source: str
    receiver: ReceiverSettings
    exporter: ExporterSettings
    log_level: str
    warnings: tuple[str, ...]
    origins: Mapping[str, str] = field(repr=False)
    table: tuple[tuple[str, str, str], ...] = field(repr=False)


def settings_from(layer: Layer, source: str) -> Settings:
    """Build the settings from merged layers without errors.

    Args:
        layer: the values of all sources.
        source: the name of the file, for people.
    """
    configuration = layer.configuration()
    origins = {dotted(key): value.source for key, value in layer.values.items()}
    return Settings(
        source=source,
        receiver=_receiver(
            configuration.receivers.otlp.protocols.grpc,
            configuration.extensions.bearertokenauth,
            takes_metrics=layer.takes_metrics,
        ),
        exporter=_exporter(configuration.exporters.openfinops),
        log_level=configuration.service.telemetry.logs.level,
        warnings=tuple(layer.warnings),
        origins=MappingProxyType(origins),
        table=_table(configuration, origins),
    )


def _exporter(keys: Openfinops) -> ExporterSettings:
    values = dict(keys)
    if keys.backend == "memory":
        # Drop the connection string: it is the default of sqlite or has no effect here.
        values["connection_string"] = None
    values["cost_rules"] = tuple(_cost_rule(rule) for rule in keys.cost_rules)
    values["cost_events"] = tuple(CostEventRule(**dict(rule)) for rule in keys.cost_events)
    values["llm_prices"] = tuple(TokenPrice(**dict(price)) for price in keys.llm_prices)
    return ExporterSettings(**values)


def _cost_rule(keys: Rule) -> CostRule:
    values = dict(keys)
    values["kind"] = None if keys.kind == "none" else keys.kind
    return CostRule(staleness_seconds=values.pop("staleness"), **values)


def _receiver(keys: Grpc, bearer: BearerTokenAuth, *, takes_metrics: bool) -> ReceiverSettings:
    return ReceiverSettings(
        endpoint=keys.endpoint,
        takes_metrics=takes_metrics,
        max_message_bytes=keys.max_recv_msg_size_mib * _BYTES_IN_MIB,
        max_concurrent_streams=keys.max_concurrent_streams,
        max_connections=keys.max_connections,
        tls=_tls(keys.tls),
        tokens=_tokens(keys.auth.authenticator, bearer),
        keepalive=_keepalive(keys.keepalive),
    )


def _keepalive(keys: Keepalive) -> KeepaliveSettings:
    seconds = dict(keys.server_parameters) | {"min_time": keys.enforcement_policy.min_time}
    return KeepaliveSettings(
        permit_without_stream=keys.enforcement_policy.permit_without_stream,
        **{
            f"{name}_milliseconds": None if value is None else round(value * 1000)
            for name, value in seconds.items()
        },
    )


def _tls(keys: Tls) -> TlsSettings | None:
    if keys.cert_file is None or keys.key_file is None:
        return None
    # min_version is not a setting: its only allowed value is what gRPC for Python does anyway.
    return TlsSettings(keys.cert_file, keys.key_file, keys.client_ca_file, keys.reload_interval)


def _tokens(name: str | None, keys: BearerTokenAuth) -> TokenSettings | None:
    if name is None:
        return None
    token = keys.token if keys.filename is None else None
    return TokenSettings(token, keys.filename, keys.scheme)


def _table(
    configuration: Configuration, origins: Mapping[str, str]
) -> tuple[tuple[str, str, str], ...]:
    """Every key but the batch processor's, which only set keys of exporters.openfinops."""
    return tuple(
        (dotted(key), _shown(key, configuration), origins.get(dotted(key), "default"))
        for key in KEYS
        if key[:2] != _BATCH_PROCESSOR
    )


def _shown(key: tuple[str, ...], configuration: Configuration) -> str:
    """The value of a key as text; "not set" as well for a key that another key makes irrelevant."""
    value: Any = reduce(getattr, key, configuration)
    if value is None or _is_irrelevant(key, configuration):
        return "not set"
    if not KEYS[key].repr:
        return redacted(value) if key[-1] == "connection_string" else HIDDEN
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_shown_element(element) for element in value)
    if isinstance(value, float):
        # The receiver has the Collector's own keys, whose durations have a unit.
        value = f"{value:g}s" if key[0] == "receivers" else f"{value:.12g}"
    return str(value)


def _is_irrelevant(key: tuple[str, ...], configuration: Configuration) -> bool:
    grpc = configuration.receivers.otlp.protocols.grpc
    if key[: len(_TLS)] == _TLS:
        return grpc.tls.cert_file is None
    if key[: len(_TOKENS)] == _TOKENS:
        has_file = configuration.extensions.bearertokenauth.filename is not None
        return grpc.auth.authenticator is None or (key[-1] == "token" and has_file)
    in_memory = configuration.exporters.openfinops.backend == "memory"
    return key[-1] == "connection_string" and in_memory


def _shown_element(element: object) -> str:
    if isinstance(element, Rule):
        return f"{element.metric} ({'never' if element.kind == 'none' else element.kind})"
    if isinstance(element, CostEvent):
        return element.event
    return element.model if isinstance(element, LlmPrice) else str(element)
