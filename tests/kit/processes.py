"""Runs the real program as a process, for tests: start it, read what it logs, stop it."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import exporter

COMMAND: Final = (sys.executable, "-m", "exporter")

# The program under test is the package that the tests import, installed or not.
_PACKAGE_FOLDER: Final = str(Path(exporter.__file__).resolve().parents[1])

# Long enough for a loaded machine; nothing waits this long unless it is broken.
DEADLINE_SECONDS: Final = 60.0

_LISTENING: Final = re.compile(r"listening for OTLP/gRPC on (\S+?),")


def environment(**changes: str) -> dict[str, str]:
    """The environment for a program under test: this one's, without what would configure it."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("OPENFINOPS_", "OTEL_", "GRPC_", "NO_COLOR", "FORCE_COLOR"))
        and not name.lower().endswith("_proxy")
        and name not in {"COLUMNS", "LINES"}
    }
    path = os.pathsep.join(filter(None, [_PACKAGE_FOLDER, os.environ.get("PYTHONPATH")]))
    # Warnings are errors in the program as they are in the tests.
    return {**kept, "PYTHONPATH": path, "PYTHONWARNINGS": "error", **changes}


def run(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = DEADLINE_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end and return what it wrote and its exit code."""
    return run_command(*COMMAND, *arguments, cwd=cwd, env=env, timeout_seconds=timeout_seconds)


def run_command(
    *command: str,
    cwd: Path,
    env: Mapping[str, str] | None = None,
    timeout_seconds: float = DEADLINE_SECONDS,
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it wrote and its exit code."""
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment() if env is None else dict(env),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=timeout_seconds,
    )


class Program:
    """A run of the program that goes on until it is told to stop.

    Use it in a `with` statement: whatever happens, the process is gone and its pipes are closed
    at the end. `prefix` is a command that runs the program, such as `nohup`.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self._command = [*prefix, *COMMAND, *arguments]
        self._cwd = cwd
        self._env = environment() if env is None else dict(env)
        self._arrived: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command,
            cwd=self._cwd,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reading = threading.Thread(target=self._read, name="program-stderr")
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(DEADLINE_SECONDS)
        self._reading.join(DEADLINE_SECONDS)
        assert self._process.stderr is not None
        self._process.stderr.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def log(self) -> str:
        """Everything that was taken off the program's stderr so far."""
        return "\n".join(self.lines)

    def wait_for_line(
        self, pattern: str, timeout_seconds: float = DEADLINE_SECONDS
    ) -> re.Match[str]:
        """The next line that the program logs and that the pattern is found in."""
        until = time.monotonic() + timeout_seconds
        while (line := self._next_line(until)) is not None:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f"the program ended without a line with {pattern!r}:\n{self.log}")

    def wait_until_listening(self) -> str:
        """The address, host:port, that the program listens on."""
        return self.wait_for_line(_LISTENING.pattern)[1]

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_seconds: float = DEADLINE_SECONDS) -> int:
        """The exit code, once the program has ended and its whole log was read."""
        code = self._process.wait(timeout_seconds)
        until = time.monotonic() + timeout_seconds
        while self._next_line(until) is not None:
            pass
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; returns the exit code."""
        self.send(number)
        return self.wait()

    def _next_line(self, until: float) -> str | None:
        try:
            line = self._arrived.get(timeout=max(until - time.monotonic(), 0.0))
        except queue.Empty:
            raise AssertionError(f"nothing more came within the time:\n{self.log}") from None
        if line is None:
            self._arrived.put(None)
        else:
            self.lines.append(line)
        return line

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._arrived.put(line.rstrip("\n"))
        self._arrived.put(None)
