"""Whether a file changed. Reads no content."""

from __future__ import annotations

from pathlib import Path

__all__ = ["signature"]


def signature(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file: time, size and inode; None for one that is not there.

    The inode tells a file from another that was moved to its place within one tick of the clock,
    as secrets of Kubernetes are.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
