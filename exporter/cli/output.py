"""The two streams: what was asked for on stdout, everything said about it on stderr."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from typing import Final, TextIO

from rich.console import Console, RenderableType
from rich.text import Text

__all__ = ["console", "print_data", "print_error", "print_note", "print_rich", "print_warning"]

# What goes into a pipe or a file is neither wrapped nor cut.
_UNLIMITED_COLUMNS: Final = 100_000
_EXIT_BY_SIGNAL: Final = 128


def console(stream: TextIO) -> Console:
    """Formats for a stream: as wide as the terminal, or without limit and colour if it is none."""
    width = None if stream.isatty() else _UNLIMITED_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_data(lines: Iterable[str]) -> None:
    """Write lines with their ends to stdout; end quietly if nobody reads on (`| head`)."""
    try:
        # One by one: of one large text that is written unbuffered (PYTHONUNBUFFERED), Python
        # drops what the pipe did not take, and says nothing.
        for line in lines:
            sys.stdout.write(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more on its way out, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_EXIT_BY_SIGNAL + signal.SIGPIPE)


def print_rich(*things: RenderableType) -> None:
    """Write tables and styled text to stdout, likewise."""
    formatting = console(sys.stdout)
    with formatting.capture() as captured:
        for thing in things:
            formatting.print(thing, soft_wrap=isinstance(thing, Text))
    lines = captured.get().splitlines()
    # Tables fill their last column with spaces, which only a terminal has use for.
    print_data(f"{line if formatting.is_terminal else line.rstrip()}\n" for line in lines)


def print_note(text: str) -> None:
    """Say something beside the data, on stderr."""
    _say(Text(text))


def print_warning(text: str) -> None:
    """Say on stderr what is worth a look."""
    _say(Text.assemble(("warning: ", "yellow"), text))


def print_error(text: str) -> None:
    """Say on stderr why the command failed."""
    _say(Text.assemble(("error: ", "bold red"), text))


def _say(text: Text) -> None:
    console(sys.stderr).print(text, soft_wrap=True)
