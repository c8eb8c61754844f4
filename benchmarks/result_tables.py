"""The printed tables: one run, or the ratios of two runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE
from rich.table import Table

from benchmarks.measure import Result


def table_of(results: Sequence[Result]) -> Table:
    """A table with times, rates and ratios of one run."""
    table = Table(title="Speed against a baseline of the same run", box=SIMPLE)
    table.add_column("what", no_wrap=True)
    for heading in ("us/point", "points/s", "baseline us"):
        table.add_column(heading, justify="right")
    table.add_column("baseline", no_wrap=True)
    table.add_column("ratio", justify="right")
    table.add_column("target", justify="right")
    for result in results:
        table.add_row(
            result.name,
            f"{result.seconds / result.points * 1e6:.3f}",
            f"{result.points / result.seconds:,.0f}",
            f"{result.baseline_seconds / result.points * 1e6:.3f}",
            result.baseline,
            f"{result.ratio:.2f}",
            f"{result.target:g}" if result.ratio >= result.target else f"missed {result.target:g}",
        )
    notes = [f"{result.name}: {result.note}" for result in results if result.note]
    table.caption, table.caption_justify = "\n".join(notes), "left"
    return table


def comparison(before: Sequence[Result], after: Sequence[Result]) -> Table:
    """A table with the ratios of two runs; times of two runs cannot be compared."""
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


def _by_key(results: Sequence[Result]) -> dict[tuple[str, str], Result]:
    return {(result.name, result.baseline): result for result in results}


def _ratio(result: Result | None) -> str:
    return "-" if result is None else f"{result.ratio:.2f}"


def _change(before: Result | None, after: Result | None) -> str:
    if before is None or after is None:
        return "-"
    return f"{after.ratio / before.ratio - 1:+.0%}"


def _target(result: Result | None) -> str:
    return "-" if result is None else f"{result.target:g}"
