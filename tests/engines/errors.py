"""The error that this package raises."""

from __future__ import annotations


class EngineError(RuntimeError):
    """An engine could not be found, installed, started or queried."""
