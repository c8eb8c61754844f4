"""What the exporter runs with, once every source is read: frozen, plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from exporter.config.connection import redacted
from exporter.config.document import dotted
from exporter.config.layers import Layer
from exporter.config.schema import Grpc

__all__ = [
    "ExporterSettings",
    "KeepaliveSettings",
    "ReceiverSettings",
    "Settings",
    "as_table",
    "settings_from",
]

_BYTES_IN_MIB: Final = 1024 * 1024
_GRPC: Final = "receivers.otlp.protocols.grpc"


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
class ReceiverSettings:
    """How the gRPC receiver listens; `max_concurrent_streams` is None for no limit."""

    endpoint: str
    max_message_bytes: int
    max_concurrent_streams: int | None
    keepalive: KeepaliveSettings


@dataclass(frozen=True, slots=True)
class ExporterSettings:
    """Where rows are kept, and how they get there.

    `max_past_days` is None for any age. `connection_string` is None for the backend memory. It
    may hold a password, so it is left out of the repr; `redacted_connection_string` is for people.
    """

    backend: str
    connection_string: str | None = field(repr=False)
    retention_days: float
    max_past_days: float | None
    max_future_days: float
    batch_size: int
    batch_interval_seconds: float
    enable_compression: bool
    max_memory_entries: int
    max_queued_entries: int
    shutdown_timeout_seconds: float
    cluster_id_attributes: tuple[str, ...]
    node_id_attributes: tuple[str, ...]

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
        receiver=_receiver(configuration.receivers.otlp.protocols.grpc),
        exporter=ExporterSettings(
            backend=written.backend,
            connection_string=None if written.backend == "memory" else written.connection_string,
            retention_days=written.retention_days,
            max_past_days=written.max_past_days,
            max_future_days=written.max_future_days,
            batch_size=written.batch_size,
            batch_interval_seconds=written.batch_interval_seconds,
            enable_compression=written.enable_compression,
            max_memory_entries=written.max_memory_entries,
            max_queued_entries=written.max_queued_entries,
            shutdown_timeout_seconds=written.shutdown_timeout_seconds,
            cluster_id_attributes=tuple(written.cluster_id_attributes),
            node_id_attributes=tuple(written.node_id_attributes),
        ),
        log_level=configuration.service.telemetry.logs.level,
        warnings=tuple(layer.warnings),
        origins=MappingProxyType({dotted(key): at.source for key, at in layer.given.items()}),
    )


def _receiver(grpc: Grpc) -> ReceiverSettings:
    server, policy = grpc.keepalive.server_parameters, grpc.keepalive.enforcement_policy
    return ReceiverSettings(
        endpoint=grpc.endpoint,
        max_message_bytes=grpc.max_recv_msg_size_mib * _BYTES_IN_MIB,
        max_concurrent_streams=grpc.max_concurrent_streams,
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


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def as_table(settings: Settings) -> list[tuple[str, str, str]]:
    """Every setting as (key, value, where it stands), in the order of the documentation.

    The connection string is redacted. A value that is nowhere set stands at "default".
    """
    return [
        (key, _shown(value), settings.origins.get(key, "default"))
        for key, value in _rows(settings).items()
    ]


def _rows(settings: Settings) -> dict[str, object]:
    receiver, written = settings.receiver, settings.exporter
    rows: dict[str, object] = {
        f"{_GRPC}.endpoint": receiver.endpoint,
        f"{_GRPC}.max_recv_msg_size_mib": receiver.max_message_bytes // _BYTES_IN_MIB,
        f"{_GRPC}.max_concurrent_streams": receiver.max_concurrent_streams,
    }
    for name in KeepaliveSettings.__slots__:
        value = getattr(receiver.keepalive, name)
        group = "enforcement_policy" if name in _POLICY else "server_parameters"
        key = name.removesuffix("_milliseconds")
        timed = key != name and value is not None
        rows[f"{_GRPC}.keepalive.{group}.{key}"] = f"{value / 1000:g}s" if timed else value
    for name in ExporterSettings.__slots__:
        shown = "redacted_connection_string" if name == "connection_string" else name
        rows[f"exporters.openfinops.{name}"] = getattr(written, shown)
    rows["service.telemetry.logs.level"] = settings.log_level
    return rows


_POLICY: Final = frozenset({"min_time_milliseconds", "permit_without_stream"})


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)
