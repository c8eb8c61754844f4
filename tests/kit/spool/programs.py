"""Runs the programs of `worker` as real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

_WORKER: Final = Path(__file__).with_name("worker.py")


class Program:
    """One running program, killed at the end of the `with` block."""

    def __init__(
        self, name: str, path: Path, *arguments: object, wrapper: tuple[str, ...] = ()
    ) -> None:
        self._process = subprocess.Popen(
            [*wrapper, sys.executable, str(_WORKER), name, str(path), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "error"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def line(self) -> str:
        """The next line that it prints; "" after the last."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def rest(self) -> list[str]:
        """All lines until it ends."""
        return list(iter(self.line, ""))

    def resume(self) -> None:
        """Send the line that it waits for."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Send SIGKILL, and wait for the end."""
        self._process.kill()
        self._process.wait()
