"""Notices that files have changed, without reading their content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


class FileWatch:
    """Compares files with what they were before.

    Args:
        paths: of the files; one that does not exist is watched for.
        interval_seconds: files are looked at once in this time at most.
        clock: seconds that only go forward.
    """

    def __init__(
        self, paths: Sequence[Path], interval_seconds: float, clock: Callable[[], float]
    ) -> None:
        self._paths = paths
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._check_at = 0.0
        self._signatures: list[tuple[int, int, int] | None] = []

    def reset(self) -> None:
        """Compare with the files as they are now; call it before reading them."""
        self._check_at = self._clock() + self._interval_seconds
        self._signatures = [_signature(path) for path in self._paths]

    def has_changed(self) -> bool:
        """Returns True if a file changed since the last `reset` or the last True result.

        Returns False if the interval has not passed.
        """
        if self._clock() < self._check_at:
            return False
        before = self._signatures
        self.reset()
        return self._signatures != before


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Modification time, size and inode; None for a file that does not exist.

    The inode tells a file from another that was moved to its place within one tick of the clock,
    as the secrets of Kubernetes are.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
