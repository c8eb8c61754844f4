"""`serve` in a process of its own, as a user starts it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LISTENING: Final = re.compile(r"listening for OTLP/gRPC on (\S+?),")
_TIMEOUT_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class ServeProcess:
    """A running `serve`."""

    address: str
    pid: int

    def resident_bytes(self) -> int:
        """Its resident memory now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def running_serve(folder: Path) -> Iterator[ServeProcess]:
    """Run `serve` inside the block, on the SQLite file `served.db`, with default settings.

    At the end of the block it gets SIGTERM, and ends when everything is written.
    """
    kept = {name: value for name, value in os.environ.items() if name[:11] != "OPENFINOPS_"}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), kept.get("PYTHONPATH")]))
    log = folder / "serve.log"
    with log.open("w", encoding="utf-8") as stderr:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [
                *(sys.executable, "-m", "exporter", "serve"),
                *("--endpoint", "127.0.0.1:0", "--db", str(folder / "served.db")),
            ],
            cwd=folder,
            env={**kept, "PYTHONPATH": path},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        yield ServeProcess(_address(process, log), process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(_TIMEOUT_SECONDS) == 0, log.read_text(encoding="utf-8")
    finally:
        process.kill()
        process.wait(_TIMEOUT_SECONDS)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    while True:
        if found := _LISTENING.search(log.read_text(encoding="utf-8")):
            return found[1]
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise AssertionError(f"serve ended: {log.read_text(encoding='utf-8')}")
