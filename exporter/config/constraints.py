"""Constraints between keys: derived values, contradictions, and settings without effect.

They are checked on the merged layers, so that a message can name the source of both values. A
constraint is skipped if one of its keys is already invalid.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from exporter.config.connection_string import backend_of, redacted
from exporter.config.exporter_keys import Openfinops
from exporter.config.fields import texts_of
from exporter.config.layers import Layer, Location, SourcedValue
from exporter.config.schema import KEYS
from exporter.config.yaml_document import dotted

_EXPORTER: Final = ("exporters", "openfinops")
_BACKEND: Final = (*_EXPORTER, "backend")
_CONNECTION_STRING: Final = (*_EXPORTER, "connection_string")
_RETENTION_DAYS: Final = (*_EXPORTER, "retention_days")
_COST_RETENTION_DAYS: Final = (*_EXPORTER, "cost_retention_days")


class _Order(NamedTuple):
    """The first key must be at least, or at most, the second."""

    first: str
    relation: str
    second: str
    reason: str = ""


_ORDERED: Final = (
    _Order(
        "cost_retention_days",
        "at least",
        "retention_days",
        ", because a cost is kept as long as the points that it comes from",
    ),
    _Order("max_queued_entries", "at least", "batch_size", ", or no batch is ever full"),
    _Order("pool_min_connections", "at most", "pool_max_connections"),
)

_GRPC: Final = ("receivers", "otlp", "protocols", "grpc")
_TLS: Final = (*_GRPC, "tls")
_AUTHENTICATOR: Final = (*_GRPC, "auth", "authenticator")
_TOKENS: Final = ("extensions", "bearertokenauth")

_BATCH: Final = ("processors", "batch")
_SEND_BATCH_MAX_SIZE: Final = (*_BATCH, "send_batch_max_size")
_EQUIVALENT: Final = {
    (*_BATCH, "timeout"): (*_EXPORTER, "batch_interval_seconds"),
    (*_BATCH, "send_batch_size"): (*_EXPORTER, "batch_size"),
}


def apply_batch_processor(file: Layer) -> None:
    """Copy the batch processor's keys to the exporter's own keys if those are not set."""
    if file.invalid & {*_EQUIVALENT, *_EQUIVALENT.values()}:
        return
    configuration = file.configuration()
    batch, exporter = configuration.processors.batch, configuration.exporters.openfinops
    for key, own in _EQUIVALENT.items():
        value = file.values.get(key)
        if value is None:
            continue
        if own not in file.values:
            file.values[own] = value
        elif getattr(batch, key[-1]) != getattr(exporter, own[-1]):
            file.warnings.append(
                f"{value.source}: {dotted(key)} has no effect, because {dotted(own)} "
                f"({file.values[own].source}) has another value"
            )


def apply_constraints(layer: Layer) -> None:
    """Derive the backend; report contradictions and settings without effect."""
    _derive_backend(layer)
    _derive_cost_retention(layer)
    exporter = layer.configuration().exporters.openfinops
    _check_storage(layer, exporter.backend)
    _check_tls(layer)
    _check_tokens(layer)
    for order in _ORDERED:
        _check_order(layer, exporter, order)
    # With errors nothing starts, and the warnings would only hide them.
    if not layer.errors:
        _warn_without_effect(layer, exporter)


def _derive_backend(layer: Layer) -> None:
    """Without a backend, the connection string decides."""
    value = layer.values.get(_CONNECTION_STRING)
    if value is None or _BACKEND in layer.values or _BACKEND in layer.invalid:
        return
    layer.values[_BACKEND] = SourcedValue(backend_of(str(value.value).strip()), value.source)


def _derive_cost_retention(layer: Layer) -> None:
    """Without a retention of costs, they are kept as long as metrics if that is longer."""
    value = layer.values.get(_RETENTION_DAYS)
    if value is None or _COST_RETENTION_DAYS in layer.values.keys() | layer.invalid:
        return
    exporter = layer.configuration().exporters.openfinops
    if exporter.retention_days > exporter.cost_retention_days:
        layer.values[_COST_RETENTION_DAYS] = value


def _check_storage(layer: Layer, backend: str) -> None:
    if layer.invalid & {_BACKEND, _CONNECTION_STRING}:
        return
    value = layer.values.get(_CONNECTION_STRING)
    if value is None:
        if backend in {"postgresql", "timescaledb"}:
            _error(
                layer,
                _BACKEND,
                f"the backend {backend} needs a connection string; write connection_string: "
                "postgresql://user:password@host:5432/database or set OPENFINOPS_DB_URL",
            )
        return
    text = str(value.value).strip()
    if backend == "memory":
        layer.warnings.append(
            f"{value.source}: connection_string has no effect, because the backend is memory "
            f"({_source(layer, _BACKEND)})"
        )
    elif backend_of(text) != ("sqlite" if backend == "sqlite" else "postgresql"):
        _error(
            layer,
            _CONNECTION_STRING,
            f"{redacted(text)} is for the backend {backend_of(text)}, and the backend is {backend} "
            f"({_source(layer, _BACKEND)}); change one of them (OPENFINOPS_BACKEND, "
            "OPENFINOPS_DB_URL), or remove the backend",
        )


def _check_order(layer: Layer, exporter: Openfinops, order: _Order) -> None:
    first_key, second_key = (*_EXPORTER, order.first), (*_EXPORTER, order.second)
    if layer.invalid & {first_key, second_key}:
        return
    first, second = getattr(exporter, order.first), getattr(exporter, order.second)
    if first < second if order.relation == "at least" else first > second:
        _error(
            layer,
            first_key if first_key in layer.values else second_key,
            f"{order.first} is {first} ({_source(layer, first_key)}) and {order.second} is "
            f"{second} ({_source(layer, second_key)}); the first must be {order.relation} the "
            f"second{order.reason}",
        )


def _check_tls(layer: Layer) -> None:
    if any(key[: len(_TLS)] == _TLS for key in layer.invalid):
        return
    written = [key for key in layer.values if key[: len(_TLS)] == _TLS]
    missing = [name for name in ("cert_file", "key_file") if (*_TLS, name) not in layer.values]
    if written and missing:
        _error(
            layer,
            written[0],
            f"TLS needs cert_file and key_file, and {' and '.join(missing)} is missing; write "
            "both, or remove the section tls",
        )


def _check_tokens(layer: Layer) -> None:
    token, filename = (*_TOKENS, "token"), (*_TOKENS, "filename")
    if _AUTHENTICATOR not in layer.values or layer.invalid & {token, filename}:
        return
    if token not in layer.values and filename not in layer.values:
        _error(
            layer,
            _AUTHENTICATOR,
            "the extension has neither a filename nor a token, so every client would be refused; "
            "write filename with the path of a file that holds one token per line",
        )
    elif token in layer.values and filename in layer.values:
        layer.warnings.append(
            f"{_source(layer, token)}: token has no effect, because filename "
            f"({_source(layer, filename)}) is set"
        )


def _warn_without_effect(layer: Layer, exporter: Openfinops) -> None:
    for name, written in exporter:
        key = (*_EXPORTER, name)
        backends = texts_of(KEYS[key])["backends"]
        # A shared file may set the default explicitly; that needs no warning.
        if backends and exporter.backend not in backends and written != KEYS[key].default:
            layer.warnings.append(
                f"{_source(layer, key)}: {name} has no effect, because the backend is "
                f"{exporter.backend}; it is for {' and '.join(backends)}"
            )
    if layer.configuration().processors.batch.send_batch_max_size:
        layer.warnings.append(
            f"{_source(layer, _SEND_BATCH_MAX_SIZE)}: send_batch_max_size has no effect, "
            "because under load batches grow instead of waiting"
        )


def _source(layer: Layer, key: tuple[str, ...]) -> str:
    return layer.values[key].source if key in layer.values else "default"


def _error(layer: Layer, key: tuple[str, ...], message: str) -> None:
    layer.errors.append((Location(_source(layer, key), dotted(key)), message))
