"""Ends a PostgreSQL server and removes its folder when whoever started it goes away.

Runs as a program of its own, `python lifeline.py FOLDER`, and needs nothing but the standard
library. Its standard input is a pipe that the test process holds open and never writes to, so the
pipe ends when the tests close it and just as well when they are killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Final

_PATIENCE_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02


def main(folder: Path) -> None:
    """Wait for the end of standard input, then clean up."""
    sys.stdin.buffer.read()
    _end(folder / "data" / "postmaster.pid")
    shutil.rmtree(folder, ignore_errors=True)


def _end(lock_file: Path) -> None:
    # SIGQUIT is PostgreSQL's immediate shutdown: nobody will read this data again. The lock file
    # tells when it is done; the process itself may stay a zombie of another parent for seconds.
    for number in (signal.SIGQUIT, signal.SIGKILL):
        process_id = _owner(lock_file)
        if process_id is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while lock_file.exists() and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)


def _owner(lock_file: Path) -> int | None:
    try:
        return int(lock_file.read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):  # it never ran, or has ended by itself
        return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
