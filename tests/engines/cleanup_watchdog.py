"""Stops a PostgreSQL server and removes its folder when the test process exits.

A separate program, `python cleanup_watchdog.py FOLDER`, that uses only the standard library. Its
standard input is a pipe that the test process keeps open. The pipe ends when the test process
closes it, and also when that process is killed.
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

_TIMEOUT_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02


def main(folder: Path) -> None:
    """Wait for the end of standard input, then clean up."""
    sys.stdin.buffer.read()
    _stop_server(folder / "data" / "postmaster.pid")
    shutil.rmtree(folder, ignore_errors=True)


def _stop_server(lock_file: Path) -> None:
    # SIGQUIT is PostgreSQL's immediate shutdown, which is enough because the data is deleted. The
    # lock file disappears at its end; the process itself may stay a zombie of another parent for
    # seconds.
    for number in (signal.SIGQUIT, signal.SIGKILL):
        process_id = _server_process_id(lock_file)
        if process_id is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, number)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while lock_file.exists() and time.monotonic() < deadline:
            time.sleep(_PAUSE_SECONDS)


def _server_process_id(lock_file: Path) -> int | None:
    try:
        return int(lock_file.read_text().splitlines()[0])
    except (FileNotFoundError, IndexError, ValueError):  # it never ran, or has stopped
        return None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
