"""What the exporters share: where settings come from, and that nothing here is traced."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Private by its name, and yet what every instrumentation asks, those of databases too.
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

from exporter import config

__all__ = ["settings_or_environment", "untraced"]

_log = logging.getLogger(__name__)


def settings_or_environment(given: config.Settings | None) -> config.Settings:
    """The settings that were given, else those that the variables of this process make.

    Raises:
        ConfigError: they cannot be used.
    """
    if given is not None:
        return given
    settings = config.load(None, config.process_environment())
    for warning in settings.warnings:
        _log.warning("%s", warning)
    return settings


@contextmanager
def untraced() -> Iterator[None]:
    """Let no instrumentation of the database, or of anything else, report what is done within."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)
