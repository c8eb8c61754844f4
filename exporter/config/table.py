"""Settings as a table for people, without secrets."""

from __future__ import annotations

from typing import Final

from exporter.config.connection import HIDDEN
from exporter.config.settings import (
    ExporterSettings,
    KeepaliveSettings,
    ReceiverSettings,
    Settings,
    TlsSettings,
    TokenSettings,
)
from exporter.costs.gen_ai import TokenPrice
from exporter.costs.rules import CostRule

__all__ = ["as_table"]

_GRPC: Final = "receivers.otlp.protocols.grpc"
_BYTES_IN_MIB: Final = 1024 * 1024
_POLICY: Final = frozenset({"min_time_milliseconds", "permit_without_stream"})


def as_table(settings: Settings) -> list[tuple[str, str, str]]:
    """Every setting as (key, value, where it stands), in the order of the documentation.

    The connection string is redacted, and a token is hidden. A value that is nowhere set stands
    at "default".
    """
    rows = {**_receiver_rows(settings.receiver), **_exporter_rows(settings.exporter)}
    rows["service.telemetry.logs.level"] = settings.log_level
    return [
        (key, _shown(value), settings.origins.get(key, "default")) for key, value in rows.items()
    ]


def _receiver_rows(receiver: ReceiverSettings) -> dict[str, object]:
    return {
        f"{_GRPC}.endpoint": receiver.endpoint,
        f"{_GRPC}.max_recv_msg_size_mib": receiver.max_message_bytes // _BYTES_IN_MIB,
        f"{_GRPC}.max_concurrent_streams": receiver.max_concurrent_streams,
        f"{_GRPC}.max_connections": receiver.max_connections,
        **_tls_rows(receiver.tls),
        f"{_GRPC}.auth.authenticator": receiver.tokens and receiver.tokens.name,
        **_keepalive_rows(receiver.keepalive),
        **_token_rows(receiver.tokens),
    }


def _tls_rows(tls: TlsSettings | None) -> dict[str, object]:
    return {
        f"{_GRPC}.tls.cert_file": tls and tls.cert_file,
        f"{_GRPC}.tls.key_file": tls and tls.key_file,
        f"{_GRPC}.tls.client_ca_file": tls and tls.client_ca_file,
        f"{_GRPC}.tls.min_version": tls and "1.2",
        f"{_GRPC}.tls.reload_interval": tls and f"{tls.reload_interval_seconds:g}s",
    }


def _token_rows(tokens: TokenSettings | None) -> dict[str, object]:
    extension = "extensions.bearertokenauth"
    return {
        f"{extension}.token": HIDDEN if tokens and tokens.token else None,
        f"{extension}.filename": tokens and tokens.path,
        f"{extension}.scheme": tokens and tokens.scheme,
    }


def _keepalive_rows(keepalive: KeepaliveSettings) -> dict[str, object]:
    rows: dict[str, object] = {}
    for name in KeepaliveSettings.__slots__:
        value = getattr(keepalive, name)
        group = "enforcement_policy" if name in _POLICY else "server_parameters"
        key = name.removesuffix("_milliseconds")
        timed = key != name and value is not None
        rows[f"{_GRPC}.keepalive.{group}.{key}"] = f"{value / 1000:g}s" if timed else value
    return rows


def _exporter_rows(written: ExporterSettings) -> dict[str, object]:
    rows: dict[str, object] = {}
    for name in ExporterSettings.__slots__:
        shown = "redacted_connection_string" if name == "connection_string" else name
        rows[f"exporters.openfinops.{name}"] = getattr(written, shown)
    return rows


def _shown(value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ", ".join(_named(item) for item in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _named(item: object) -> str:
    if isinstance(item, CostRule):
        return f"{item.metric} ({item.kind or 'never'})"
    return item.model if isinstance(item, TokenPrice) else str(item)
