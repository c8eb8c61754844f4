"""The command line: puts the parts together, runs them, and alone prints.

This module is only the way in. What it starts lies in `exporter.cli.app`, which is imported late,
so that an interrupt is already quiet while the libraries load.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command that the process arguments name; never returns.

    Exit codes: 0 done, 1 failed with one message on stderr, 2 wrong usage, 128 + number for a
    signal. An exception that is not an `ExporterError` is a bug and keeps its traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Ctrl-C ends a command at once and without a traceback; `serve` and `demo`, which have
        # something to put in order, catch it themselves.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from exporter.cli.app import run  # noqa: PLC0415 - see above

    sys.exit(run())
