"""Results of a run as a JSON file."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measure import Result

_FIELDS = tuple(field.name for field in fields(Result))


def write(path: Path, results: Sequence[Result]) -> None:
    """Write the results of a run, with the machine and the Python version."""
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "results": [asdict(result) | {"ratio": result.ratio} for result in results],
    }
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def read(path: Path) -> list[Result]:
    """Read the results of a run.

    Raises:
        ValueError: the file cannot be read, or was not written by `write`.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
        return [
            Result(**{name: one[name] for name in _FIELDS if name in one or name != "note"})
            for one in found
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: not a file of results ({error!r}); write one with --json"
        ) from error
