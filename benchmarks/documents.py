"""The JSON of a run: written, read again, and two of them side by side."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.measure import Result

__all__ = ["comparison", "read", "write"]

_FIELDS = tuple(field.name for field in fields(Result))
_Key = tuple[str, str]


def write(path: Path, results: Sequence[Result]) -> None:
    """Keep the results of a run, with what they were measured on."""
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "results": [asdict(result) | {"ratio": result.ratio} for result in results],
    }
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")


def read(path: Path) -> list[Result]:
    """The results of a run that was kept.

    Raises:
        ValueError: the file cannot be read, or was not written by `write`.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["results"]
        return [Result(**{name: one[name] for name in _FIELDS}) for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: these are no results ({error!r}); write some with --json"
        ) from error


def comparison(before: Sequence[Result], after: Sequence[Result]) -> Table:
    """The ratios of two runs. Times are left out: those of two runs cannot be compared."""
    table = Table(title="Ratio to the baseline of the same run", box=SIMPLE)
    table.add_column("what", no_wrap=True)
    table.add_column("baseline", no_wrap=True)
    for heading in ("before", "after", "change", "target"):
        table.add_column(heading, justify="right")
    old, new = _by_key(before), _by_key(after)
    for key in old | new:
        was, now = old.get(key), new.get(key)
        table.add_row(*key, _ratio(was), _ratio(now), _change(was, now), _target(now or was))
    return table


def _by_key(results: Sequence[Result]) -> dict[_Key, Result]:
    return {(result.name, result.baseline): result for result in results}


def _ratio(result: Result | None) -> str:
    return "-" if result is None else f"{result.ratio:.2f}"


def _change(before: Result | None, after: Result | None) -> str:
    if before is None or after is None:
        return "-"
    return f"{after.ratio / before.ratio - 1:+.0%}"


def _target(result: Result | None) -> str:
    return "-" if result is None else f"{result.target:g}"
