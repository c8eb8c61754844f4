"""Shared by both exporters: settings from the environment, and suppressed instrumentation."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

# Private by its name, but every instrumentation library checks this key, database drivers included.
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value

from exporter import config

_log = logging.getLogger(__name__)


def settings_or_environment(given: config.Settings | None) -> config.Settings:
    """The given settings, or those of this process' environment variables.

    Raises:
        ConfigError: the variables are invalid.
    """
    if given is not None:
        return given
    settings = config.load(None, config.process_environment())
    for warning in settings.warnings:
        _log.warning("%s", warning)
    return settings


@contextmanager
def suppressed_instrumentation() -> Iterator[None]:
    """Suppress every instrumentation inside the block, so that exports do not trace themselves."""
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        detach(token)
