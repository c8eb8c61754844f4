"""What the exporter runs with, once every source is read: frozen, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

from exporter.config.connection import redacted
from exporter.config.document import dotted
from exporter.config.exporter_keys import LlmPrice, Rule
from exporter.config.layers import Layer
from exporter.config.receiver_keys import BearerTokenAuth, Grpc, Tls
from exporter.costs.gen_ai import TokenPrice
from exporter.costs.rules import CostRule, FieldSource

__all__ = [
    "ExporterSettings",
    "KeepaliveSettings",
    "ReceiverSettings",
    "Settings",
    "TlsSettings",
    "TokenSettings",
    "settings_from",
]

_BYTES_IN_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class KeepaliveSettings:
    """Life of gRPC connections; None leaves gRPC's own default."""

    max_connection_idle_milliseconds: int | None = None
    max_connection_age_milliseconds: int | None = None
    max_connection_age_grace_milliseconds: int | None = None
    time_milliseconds: int | None = None
    timeout_milliseconds: int | None = None
    min_time_milliseconds: int | None = None
    permit_without_stream: bool | None = None


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """Certificate files; clients need no certificate where `client_ca_file` is None."""

    cert_file: Path
    key_file: Path
    client_ca_file: Path | None
    reload_interval_seconds: float


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Bearer tokens; exactly one of `token`, which is a secret, and `path` is set.

    `name` is what the file calls the extension.
    """

    name: str
    token: str | None = field(repr=False)
    path: Path | None
    scheme: str


@dataclass(frozen=True, slots=True)
class ReceiverSettings:
    """How the gRPC receiver listens.

    `max_concurrent_streams` is None for the receiver's own limit, `tls` for plain text, and
    `tokens` for letting in everybody. Cost events are always taken, metrics unless `takes_metrics`
    is False.
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
    """Where rows are kept, and how they get there.

    `max_past_days` is None for any age, `spool_path` for the default place. `connection_string` is
    None for the backend memory. It may hold a password, so it is left out of the repr;
    `redacted_connection_string` is for people.
    """

    backend: str
    connection_string: str | None = field(repr=False)
    retention_days: float
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
    llm_prices: tuple[TokenPrice, ...]

    @property
    def redacted_connection_string(self) -> str | None:
        """The connection string with `***` for every possible secret."""
        return None if self.connection_string is None else redacted(self.connection_string)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the exporter runs with.

    Attributes:
        source: the file, or "built-in defaults".
        receiver: how it listens.
        exporter: what it does with the data.
        log_level: DEBUG, INFO, WARNING or ERROR, as `logging` names them.
        warnings: what was accepted and is yet worth a look; free of secrets.
        origins: where the value of a key stands, for each that is not at its default.
    """

    source: str
    receiver: ReceiverSettings
    exporter: ExporterSettings
    log_level: str
    warnings: tuple[str, ...]
    origins: Mapping[str, str] = field(repr=False)


def settings_from(layer: Layer, source: str) -> Settings:
    """Settings from values that were checked; `source` is what a person would call them."""
    configuration = layer.configuration()
    written = configuration.exporters.openfinops
    return Settings(
        source=source,
        receiver=_receiver(
            configuration.receivers.otlp.protocols.grpc,
            configuration.extensions.bearertokenauth,
            takes_metrics=layer.takes_metrics,
        ),
        exporter=ExporterSettings(
            backend=written.backend,
            connection_string=None if written.backend == "memory" else written.connection_string,
            retention_days=written.retention_days,
            max_past_days=written.max_past_days,
            max_future_days=written.max_future_days,
            batch_size=written.batch_size,
            batch_interval_seconds=written.batch_interval_seconds,
            enable_compression=written.enable_compression,
            compress_after_seconds=written.compress_after_seconds,
            direct_compress=written.direct_compress,
            chunk_interval_seconds=written.chunk_interval_seconds,
            rollups=written.rollups,
            pool_min_connections=written.pool_min_connections,
            pool_max_connections=written.pool_max_connections,
            max_memory_entries=written.max_memory_entries,
            max_queued_entries=written.max_queued_entries,
            max_series=written.max_series,
            memory_limit_mib=written.memory_limit_mib,
            spool=written.spool,
            spool_path=None if written.spool_path is None else Path(written.spool_path),
            spool_max_size_mib=written.spool_max_size_mib,
            spool_max_age_seconds=written.spool_max_age_seconds,
            retry_window_seconds=written.retry_window_seconds,
            shutdown_timeout_seconds=written.shutdown_timeout_seconds,
            cluster_id_attributes=tuple(written.cluster_id_attributes),
            node_id_attributes=tuple(written.node_id_attributes),
            cost_rules=tuple(_cost_rule(rule) for rule in written.cost_rules),
            default_cost_rules=written.default_cost_rules,
            llm_prices=tuple(_token_price(price) for price in written.llm_prices),
        ),
        log_level=configuration.service.telemetry.logs.level,
        warnings=tuple(layer.warnings),
        origins=MappingProxyType({dotted(key): at.source for key, at in layer.given.items()}),
    )


def _cost_rule(rule: Rule) -> CostRule:
    return CostRule(
        metric=rule.metric,
        kind=None if rule.kind == "none" else rule.kind,
        attributes=MappingProxyType(dict(rule.attributes)),
        category=_sources(rule.category),
        resource_id=_sources(rule.resource_id),
        currency=_sources(rule.currency),
        region=_sources(rule.region),
        tags=None
        if rule.tags is None
        else MappingProxyType({name: FieldSource.parse(text) for name, text in rule.tags.items()}),
        staleness_seconds=rule.staleness,
    )


def _sources(texts: list[str]) -> tuple[FieldSource, ...]:
    return tuple(FieldSource.parse(text) for text in texts)


def _token_price(price: LlmPrice) -> TokenPrice:
    return TokenPrice(
        model=price.model,
        provider=price.provider,
        input=price.input,
        output=price.output,
        currency=price.currency,
    )


def _receiver(grpc: Grpc, bearer: BearerTokenAuth, *, takes_metrics: bool) -> ReceiverSettings:
    server, policy = grpc.keepalive.server_parameters, grpc.keepalive.enforcement_policy
    return ReceiverSettings(
        endpoint=grpc.endpoint,
        takes_metrics=takes_metrics,
        max_message_bytes=grpc.max_recv_msg_size_mib * _BYTES_IN_MIB,
        max_concurrent_streams=grpc.max_concurrent_streams,
        max_connections=grpc.max_connections,
        tls=_tls(grpc.tls),
        tokens=_tokens(grpc.auth.authenticator, bearer),
        keepalive=KeepaliveSettings(
            max_connection_idle_milliseconds=_milliseconds(server.max_connection_idle),
            max_connection_age_milliseconds=_milliseconds(server.max_connection_age),
            max_connection_age_grace_milliseconds=_milliseconds(server.max_connection_age_grace),
            time_milliseconds=_milliseconds(server.time),
            timeout_milliseconds=_milliseconds(server.timeout),
            min_time_milliseconds=_milliseconds(policy.min_time),
            permit_without_stream=policy.permit_without_stream,
        ),
    )


def _tls(tls: Tls) -> TlsSettings | None:
    if tls.cert_file is None or tls.key_file is None:
        return None
    return TlsSettings(
        cert_file=Path(tls.cert_file),
        key_file=Path(tls.key_file),
        client_ca_file=None if tls.client_ca_file is None else Path(tls.client_ca_file),
        reload_interval_seconds=tls.reload_interval,
    )


def _tokens(name: str | None, bearer: BearerTokenAuth) -> TokenSettings | None:
    if name is None:
        return None
    return TokenSettings(
        name=name,
        token=bearer.token if bearer.filename is None else None,
        path=None if bearer.filename is None else Path(bearer.filename),
        scheme=bearer.scheme,
    )


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
