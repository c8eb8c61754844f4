"""A small volume that a server can fill, in a separate mount namespace.

Only programs started through the volume see it. The kernel unmounts it when the last of them exits,
also when the tests are killed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from engines.errors import EngineError

_TIMEOUT_SECONDS: Final = 10
_PROGRAMS: Final = ("unshare", "nsenter", "mount")


class Volume:
    """A tmpfs on a folder, for a `with` statement.

    Args:
        folder: an existing empty folder on which it is mounted.
        size_mib: its size.
        user: the id of its owner; None without root privileges, which mounting needs.
        group: the id of its group; None without root privileges.

    Raises:
        EngineError: `__enter__` cannot mount it.
    """

    def __init__(self, folder: Path, *, size_mib: int, user: int | None, group: int | None) -> None:
        self._folder = folder
        self._user = user
        self._options = f"size={size_mib}m,uid={user},gid={group},mode=0700"
        self._identity = (f"--setuid={user}", f"--setgid={group}")

    def __enter__(self) -> Self:
        if self._user is None:
            raise EngineError(
                "mounting a volume failed: it needs root, which runs the server as nobody"
            )
        missing = [name for name in _PROGRAMS if shutil.which(name) is None]
        if missing:
            raise EngineError(
                f"mounting a volume failed: the program {missing[0]} is not installed"
            )
        # `cat` holds the namespace for as long as its standard input is open.
        script = 'mount -t tmpfs -o "$1" none "$2" && echo mounted && exec cat'
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script, "sh", self._options, self._folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._holder.stdout is not None
        output = self._holder.stdout.readline().strip()
        if output != "mounted":
            self.close()
            raise EngineError(f"mounting a volume failed: {output}")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where it is mounted, for programs inside the namespace."""
        return self._folder

    @property
    def path(self) -> Path:
        """The folder for programs outside the namespace."""
        return Path(f"/proc/{self._holder.pid}/root{self._folder}")

    def wrap(self, command: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs another inside the namespace, as the owner."""
        namespace = f"--mount=/proc/{self._holder.pid}/ns/mnt"
        return ["nsenter", namespace, *self._identity, "--", *command]

    def fill(self, leaving_bytes: int = 0) -> Path:
        """Write a file that leaves this much space free; delete it to free the rest."""
        ballast = self.path / "ballast"
        space = os.statvfs(self.path)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leaving_bytes)
        return ballast

    def close(self) -> None:
        """Release the namespace; programs that still run there keep it. Safe twice."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(_TIMEOUT_SECONDS)
