"""Runs the programs of a `worker.py` as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

BACKEND_WORKER: Final = Path(__file__).with_name("worker.py")


class Program:
    """One running program of a worker; the end of the `with` block kills it."""

    def __init__(
        self,
        name: str,
        *arguments: object,
        wrapper: tuple[str, ...] = (),
        worker: Path = BACKEND_WORKER,
    ) -> None:
        command = [*wrapper, sys.executable, str(worker), name, *map(str, arguments)]
        self._process = subprocess.Popen(
            command,
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
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def line(self) -> str:
        """The next line of its output; "" at the end."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def rest(self) -> list[str]:
        """All further lines of its output."""
        return list(iter(self.line, ""))

    def lines(self) -> list[str]:
        """All further lines of its output; its exit code must be 0."""
        found = self.rest()
        assert self._process.wait() == 0, found
        return found

    def resume(self) -> None:
        """Let it continue after its `wait`."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Crash it with SIGKILL."""
        self._process.kill()
        self._process.wait()
