"""The two streams: data on stdout, and everything said about it on stderr."""

from __future__ import annotations

import os
import signal
import sys
from typing import Final, TextIO

from rich.console import Console
from rich.text import Text

__all__ = ["console", "print_data", "print_error", "print_note"]

# What is piped is cut and wrapped by nobody.
_UNLIMITED_COLUMNS: Final = 100_000


def console(stream: TextIO) -> Console:
    """A rich console that neither wraps, cuts nor colours what does not go to a terminal."""
    width = None if stream.isatty() else _UNLIMITED_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def print_data(text: str) -> None:
    """Write what was asked for to stdout, and end quietly if nobody reads on (`| head`)."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)


def print_note(text: str) -> None:
    """Say something beside the data, on stderr."""
    console(sys.stderr).print(Text(text, style="dim"), soft_wrap=True)


def print_error(text: str) -> None:
    """Say why the command failed, on stderr."""
    console(sys.stderr).print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)
