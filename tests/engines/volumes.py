"""A small volume that a server's data can fill, in a mount namespace of its own.

Only the programs that are run through the volume see it, and it is gone with the last of them, also
when the tests are killed: nothing is left mounted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from engines.errors import EngineError

__all__ = ["Volume"]

_PATIENCE_SECONDS: Final = 10
_PROGRAMS: Final = ("unshare", "nsenter", "mount")


class Volume:
    """A tmpfs on a folder, for a `with` statement.

    Args:
        folder: where it is mounted; empty, and there already.
        size_mib: how much it holds.
        user: whom it belongs to; None if one is not root, who alone may mount it.
        group: likewise.

    Raises:
        EngineError: nothing can be mounted here; from `__enter__`.
    """

    def __init__(self, folder: Path, *, size_mib: int, user: int | None, group: int | None) -> None:
        self._folder = folder
        self._user = user
        self._options = f"size={size_mib}m,uid={user},gid={group},mode=0700"
        self._identity = (f"--setuid={user}", f"--setgid={group}")

    def __enter__(self) -> Self:
        if self._user is None:
            raise EngineError("mount a volume: only root may, and then run the server as nobody")
        missing = [name for name in _PROGRAMS if shutil.which(name) is None]
        if missing:
            raise EngineError(f"mount a volume: there is no program {missing[0]}")
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
        said = self._holder.stdout.readline().strip()
        if said != "mounted":
            self.close()
            raise EngineError(f"mount a volume: {said}")
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def folder(self) -> Path:
        """Where it is mounted, for those who are inside."""
        return self._folder

    @property
    def path(self) -> Path:
        """The same folder from outside."""
        return Path(f"/proc/{self._holder.pid}/root{self._folder}")

    def inside(self, command: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs another where the volume is mounted, as its owner."""
        namespace = f"--mount=/proc/{self._holder.pid}/ns/mnt"
        return ["nsenter", namespace, *self._identity, "--", *command]

    def fill(self, leaving_bytes: int = 0) -> Path:
        """Write a file that leaves so much free; delete it to make room."""
        ballast = self.path / "ballast"
        space = os.statvfs(self.path)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leaving_bytes)
        return ballast

    def close(self) -> None:
        """Let go of it; it stays for programs that still run there. Safe twice."""
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait(_PATIENCE_SECONDS)
