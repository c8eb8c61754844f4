"""What keys mean for each other: stand-ins, contradictions, and values without effect.

Each rule looks at all sources laid over each other, so that it can name the place of either
value. A rule is silent where one of its values holds a mistake already.
"""

from __future__ import annotations

from typing import Final

from exporter.config.connection import backend_of, redacted
from exporter.config.document import dotted
from exporter.config.layers import Given, Layer, Place, Problem

__all__ = ["apply_rules", "take_over_batch_processor"]

_EXPORTER: Final = ("exporters", "openfinops")
_BACKEND: Final = (*_EXPORTER, "backend")
_CONNECTION_STRING: Final = (*_EXPORTER, "connection_string")
_COMPRESSION: Final = (*_EXPORTER, "enable_compression")
_INTERVAL: Final = (*_EXPORTER, "batch_interval_seconds")
_BATCH_SIZE: Final = (*_EXPORTER, "batch_size")
_QUEUED: Final = (*_EXPORTER, "max_queued_entries")

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


def _note_without_effect(layer: Layer) -> None:
    if layer.problems:
        return
    configuration = layer.configuration()
    exporter = configuration.exporters.openfinops
    if exporter.enable_compression and exporter.backend != "timescaledb":
        layer.warnings.append(
            f"{_source(layer, _COMPRESSION)}: enable_compression has no effect, because the "
            f"backend is {exporter.backend}; only timescaledb compresses"
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
