"""The one error of this package."""

from __future__ import annotations

__all__ = ["EngineError"]


class EngineError(RuntimeError):
    """An engine could not be found, installed, started or asked; the message says what to do."""
