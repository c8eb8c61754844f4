"""The command line: composes the parts, runs them, and is the only package that prints.

`main` installs the Ctrl-C handler before it imports `exporter.cli.app`, so that Ctrl-C during the
slow imports prints no traceback.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the process arguments name; never returns.

    Exit codes: 0 success, 1 failure with one message on stderr, 2 wrong usage, 128 + number for a
    signal. An exception that is not an `ExporterError` is a bug and keeps its traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C ends a command at once and without a traceback. `serve` and `demo` have work to
        # finish and handle the signal themselves.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from exporter.cli.app import run  # noqa: PLC0415 - see the module's docstring

    sys.exit(run())
