"""Output: results on stdout; notes, warnings, errors and the log on stderr."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.style import Style
from rich.text import Text

# Output into a pipe or a file is neither wrapped nor cut.
_UNLIMITED_COLUMNS: Final = 100_000
_EXIT_BY_SIGNAL: Final = 128

_LEVEL_STYLES: Final = {
    "DEBUG": Style(dim=True),
    "WARNING": Style(color="yellow"),
    "ERROR": Style(color="red", bold=True),
    "CRITICAL": Style(color="red", bold=True),
}


def console(stream: TextIO) -> Console:
    """The formatting of a stream: as wide as the terminal; without limit and colour otherwise."""
    width = None if stream.isatty() else _UNLIMITED_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_data(lines: Iterable[str]) -> None:
    """Write complete lines to stdout; exit quietly if the reader closed the pipe (`| head`)."""
    try:
        # One by one: if one large text is written unbuffered (PYTHONUNBUFFERED), Python silently
        # drops the part that the pipe did not accept.
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes stdout again at exit and would report the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_EXIT_BY_SIGNAL + signal.SIGPIPE)


def print_rich(*renderables: RenderableType) -> None:
    """Write tables and styled text to stdout, like `print_data`."""
    formatting = console(sys.stdout)
    with formatting.capture() as captured:
        for renderable in renderables:
            formatting.print(renderable, soft_wrap=isinstance(renderable, Text))
    lines = captured.get().splitlines()
    # Tables fill their last column with spaces, which are useful on a terminal only.
    print_data(f"{line if formatting.is_terminal else line.rstrip()}\n" for line in lines)


def print_note(text: str) -> None:
    """Write a remark about the results to stderr."""
    _print_to_stderr(Text(text))


def print_warning(text: str) -> None:
    """Write a warning to stderr."""
    _print_to_stderr(Text.assemble(("warning: ", "yellow"), text))


def print_error(text: str) -> None:
    """Write to stderr why the command failed."""
    _print_to_stderr(Text.assemble(("error: ", "bold red"), text))


def _print_to_stderr(text: Text) -> None:
    console(sys.stderr).print(text, soft_wrap=True)


def configure_logging(level: str) -> None:
    """Send the log to stderr, replacing any earlier configuration.

    Args:
        level: the lowest level to show: DEBUG, INFO, WARNING or ERROR.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter(coloured=console(sys.stderr).color_system is not None))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


class _LineFormatter(logging.Formatter):
    """`2026-01-31T12:00:00.123Z INFO listening ...`, with coloured levels on a terminal."""

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
        if self._coloured and level in _LEVEL_STYLES:
            level = _LEVEL_STYLES[level].render(level)
        # The exporter's own lines are sentences; lines of libraries name the library.
        source = "" if record.name.startswith("exporter") else f"{record.name}: "
        return f"{record.asctime} {level} {source}{record.message}"
