"""Log lines for people and for log collectors: on stderr, one format, in UTC."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Final

from rich.style import Style

from exporter.cli.output import console

__all__ = ["configure"]

_STYLES: Final = {
    "DEBUG": Style(dim=True),
    "WARNING": Style(color="yellow"),
    "ERROR": Style(color="red", bold=True),
    "CRITICAL": Style(color="red", bold=True),
}


def configure(level: str) -> None:
    """Send the log to stderr, in place of whatever was set up before.

    Args:
        level: the lowest level to show: DEBUG, INFO, WARNING or ERROR.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Lines(coloured=console(sys.stderr).color_system is not None))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


class _Lines(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO listening ...`; on a terminal the level has a colour."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def usesTime(self) -> bool:  # noqa: N802 - logging's name for it
        return True

    def formatTime(  # noqa: N802 - logging's name for it
        self, record: logging.LogRecord, datefmt: str | None = None
    ) -> str:
        del datefmt
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name for it
        level = record.levelname
        if self._coloured and level in _STYLES:
            level = _STYLES[level].render(level)
        # Our own lines read as sentences; those of libraries say which library.
        source = "" if record.name.startswith("exporter") else f"{record.name}: "
        return f"{record.asctime} {level} {source}{record.message}"
