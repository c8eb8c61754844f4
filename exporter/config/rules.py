"""What keys mean for each other: stand-ins, contradictions, and values without effect.

Each rule looks at all sources laid over each other, so that it can name the place of either
value. A rule is silent where one of its values holds a mistake already.
"""

from __future__ import annotations

from typing import Final

from exporter.config.connection import backend_of, redacted
from exporter.config.document import dotted
from exporter.config.layers import Given, Layer, Place, Problem
from exporter.config.schema import KEYS

__all__ = ["apply_rules", "take_over_batch_processor"]

_EXPORTER: Final = ("exporters", "openfinops")
_BACKEND: Final = (*_EXPORTER, "backend")
_CONNECTION_STRING: Final = (*_EXPORTER, "connection_string")
_INTERVAL: Final = (*_EXPORTER, "batch_interval_seconds")
_BATCH_SIZE: Final = (*_EXPORTER, "batch_size")
_QUEUED: Final = (*_EXPORTER, "max_queued_entries")
_POOL_MIN: Final = (*_EXPORTER, "pool_min_connections")
_POOL_MAX: Final = (*_EXPORTER, "pool_max_connections")
_SERVERS: Final = ("postgresql", "timescaledb")
# Keys that the other backends do not read.
_BACKENDS_OF: Final = {
    "enable_compression": ("timescaledb",),
    "compress_after_seconds": ("timescaledb",),
    "direct_compress": ("timescaledb",),
    "chunk_interval_seconds": ("timescaledb",),
    "rollups": ("timescaledb",),
    "pool_min_connections": _SERVERS,
    "pool_max_connections": _SERVERS,
}

_GRPC: Final = ("receivers", "otlp", "protocols", "grpc")
_TLS: Final = (*_GRPC, "tls")
_AUTHENTICATOR: Final = (*_GRPC, "auth", "authenticator")
_TOKENS: Final = ("extensions", "bearertokenauth")

_BATCH: Final = ("processors", "batch")
_SEND_BATCH_MAX_SIZE: Final = (*_BATCH, "send_batch_max_size")
_STANDS_FOR: Final = {
    (*_BATCH, "timeout"): _INTERVAL,
    (*_BATCH, "send_batch_size"): _BATCH_SIZE,
}


def take_over_batch_processor(file: Layer) -> None:
    """Let the batch processor's keys stand for the exporter's own where those are not written."""
    if file.broken & {*_STANDS_FOR, *_STANDS_FOR.values()}:
        return
    configuration = file.configuration()
    batch, exporter = configuration.processors.batch, configuration.exporters.openfinops
    values = {
        _INTERVAL: (batch.timeout, exporter.batch_interval_seconds),
        _BATCH_SIZE: (batch.send_batch_size, exporter.batch_size),
    }
    for key, own in _STANDS_FOR.items():
        given = file.given.get(key)
        if given is None:
            continue
        if own not in file.given:
            file.given[own] = given
        elif values[own][0] != values[own][1]:
            file.warnings.append(
                f"{given.source}: {dotted(key)} has no effect, because {dotted(own)} "
                f"({file.given[own].source}) says otherwise"
            )


def apply_rules(layer: Layer) -> None:
    """Complete what follows from other keys; note contradictions and values without effect."""
    _derive_backend(layer)
    _check_storage(layer)
    _check_queue(layer)
    _check_tls(layer)
    _check_tokens(layer)
    _check_pool(layer)
    _note_without_effect(layer)


def _derive_backend(layer: Layer) -> None:
    """A connection string alone says which backend is meant."""
    given = layer.given.get(_CONNECTION_STRING)
    if given is None or _BACKEND in layer.given or _BACKEND in layer.broken:
        return
    layer.given[_BACKEND] = Given(backend_of(str(given.value).strip()), given.source)


def _check_storage(layer: Layer) -> None:
    if layer.broken & {_BACKEND, _CONNECTION_STRING}:
        return
    backend = layer.configuration().exporters.openfinops.backend
    given = layer.given.get(_CONNECTION_STRING)
    if given is None:
        if backend in {"postgresql", "timescaledb"}:
            _contradiction(
                layer,
                _BACKEND,
                f"the backend {backend} needs a connection string; write connection_string: "
                "postgresql://user:password@host:5432/database or set OPENFINOPS_DB_URL",
            )
        return
    text = str(given.value).strip()
    if backend == "memory":
        layer.warnings.append(
            f"{given.source}: connection_string has no effect, because the backend is memory "
            f"({_source(layer, _BACKEND)})"
        )
    elif backend_of(text) != ("sqlite" if backend == "sqlite" else "postgresql"):
        _contradiction(
            layer,
            _CONNECTION_STRING,
            f"{redacted(text)} is for the backend {backend_of(text)}, and the backend is {backend} "
            f"({_source(layer, _BACKEND)}); change one of them (OPENFINOPS_BACKEND, "
            "OPENFINOPS_DB_URL), or leave the backend out",
        )


def _check_queue(layer: Layer) -> None:
    if layer.broken & {_BATCH_SIZE, _QUEUED}:
        return
    exporter = layer.configuration().exporters.openfinops
    if exporter.max_queued_entries < exporter.batch_size:
        key = _QUEUED if _QUEUED in layer.given else _BATCH_SIZE
        _contradiction(
            layer,
            key,
            f"max_queued_entries is {exporter.max_queued_entries} ({_source(layer, _QUEUED)}) and "
            f"batch_size is {exporter.batch_size} ({_source(layer, _BATCH_SIZE)}); the first must "
            "be at least the second, or no batch is ever full",
        )


def _check_pool(layer: Layer) -> None:
    if layer.broken & {_POOL_MIN, _POOL_MAX}:
        return
    exporter = layer.configuration().exporters.openfinops
    if exporter.pool_min_connections > exporter.pool_max_connections:
        _contradiction(
            layer,
            _POOL_MIN if _POOL_MIN in layer.given else _POOL_MAX,
            f"pool_min_connections is {exporter.pool_min_connections} "
            f"({_source(layer, _POOL_MIN)}) and pool_max_connections is "
            f"{exporter.pool_max_connections} ({_source(layer, _POOL_MAX)}); the first must be at "
            "most the second",
        )


def _check_tls(layer: Layer) -> None:
    if any(key[: len(_TLS)] == _TLS for key in layer.broken):
        return
    given = [key for key in layer.given if key[: len(_TLS)] == _TLS]
    missing = [name for name in ("cert_file", "key_file") if (*_TLS, name) not in layer.given]
    if given and missing:
        _contradiction(
            layer,
            given[0],
            f"TLS needs cert_file and key_file, and {' and '.join(missing)} is missing; write "
            "both, or remove the section tls",
        )


def _check_tokens(layer: Layer) -> None:
    token, filename = (*_TOKENS, "token"), (*_TOKENS, "filename")
    if _AUTHENTICATOR not in layer.given or layer.broken & {token, filename}:
        return
    if token not in layer.given and filename not in layer.given:
        _contradiction(
            layer,
            _AUTHENTICATOR,
            "the extension has neither a filename nor a token, so nobody could be let in; write "
            "filename with the path of a file that holds one token a line",
        )
    elif token in layer.given and filename in layer.given:
        layer.warnings.append(
            f"{_source(layer, token)}: token has no effect, because filename "
            f"({_source(layer, filename)}) is there"
        )


def _note_without_effect(layer: Layer) -> None:
    if layer.problems:
        return
    configuration = layer.configuration()
    exporter = configuration.exporters.openfinops
    for name, backends in _BACKENDS_OF.items():
        key = (*_EXPORTER, name)
        written = getattr(exporter, name)
        if exporter.backend not in backends and written != KEYS[key].default:
            layer.warnings.append(
                f"{_source(layer, key)}: {name} has no effect, because the backend is "
                f"{exporter.backend}; it is for {' and '.join(backends)}"
            )
    if configuration.processors.batch.send_batch_max_size:
        layer.warnings.append(
            f"{_source(layer, _SEND_BATCH_MAX_SIZE)}: send_batch_max_size has no effect, "
            "because under load batches grow instead of waiting"
        )


def _source(layer: Layer, key: tuple[str, ...]) -> str:
    return layer.given[key].source if key in layer.given else "default"


def _contradiction(layer: Layer, key: tuple[str, ...], message: str) -> None:
    layer.problems.append(Problem(Place(_source(layer, key), dotted(key)), message))
