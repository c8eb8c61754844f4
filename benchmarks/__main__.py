"""`python -m benchmarks [stage ...]`: measures stages, prints a table, and can write JSON."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from benchmarks import (
    batch,
    cardinality,
    costs,
    decode,
    idle,
    intern,
    memory,
    migration,
    plain_pipeline_comparison,
    postgresql,
    queries,
    reports,
    result_files,
    senders,
    sqlite,
)
from benchmarks.measure import Result
from benchmarks.options import Options
from benchmarks.result_tables import comparison, table_of
from benchmarks.svg_chart import svg_chart

STAGES: dict[str, Callable[[Options], list[Result]]] = {
    "decode": lambda _: decode.run(),
    "intern": lambda _: intern.run(),
    "batch": lambda _: batch.run(),
    "sqlite": lambda _: sqlite.run(),
    "postgresql": postgresql.run,
    "plain": plain_pipeline_comparison.run,
    "queries": queries.run,
    "costs": costs.run,
    "reports": reports.run,
    "migration": migration.run,
    "senders": lambda _: senders.run(),
    "cardinality": lambda _: cardinality.run(),
    "idle": lambda _: idle.run(),
    "memory": memory.run,
}


def main() -> None:
    """Run the named stages, or all; or compare or draw stored results."""
    parser = _parser()
    arguments = parser.parse_args()
    console = Console()
    if not console.is_terminal:  # a pipe has no width of its own
        console = Console(width=140)
    try:
        if arguments.compare:
            before, after = map(result_files.read, arguments.compare)
            console.print(comparison(before, after))
            return
        if arguments.picture:
            kept, svg = arguments.picture
            svg.write_text(svg_chart(result_files.read(kept)), encoding="utf-8")
            return
    except ValueError as error:
        parser.error(str(error))
    options = Options(**{field.name: getattr(arguments, field.name) for field in fields(Options)})
    results: list[Result] = []
    for stage in arguments.stages or STAGES:
        began = time.perf_counter()
        results += STAGES[stage](options)
        console.print(f"{stage}: {time.perf_counter() - began:.0f} s")
    console.print(table_of(results))
    if arguments.json:
        result_files.write(arguments.json, results)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], help="default: all")
    parser.add_argument("--json", type=Path, help="write the results to this file")
    parser.add_argument("--pg-dsn", help="measure on this PostgreSQL server; default: start one")
    parser.add_argument("--timescaledb-dsn", help="measure on this TimescaleDB server too")
    parser.add_argument(
        "--rows",
        type=int,
        default=Options().rows,
        help="rows of queries and migration, a multiple of 10,000; default: %(default)s",
    )
    parser.add_argument(
        "--points",
        type=int,
        default=Options().points,
        help="data points of memory; default: %(default)s",
    )
    parser.add_argument(
        "--entries",
        type=int,
        default=Options().entries,
        help="cost entries of reports; default: %(default)s",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("BEFORE", "AFTER"),
        help="measure nothing, compare two files written with --json",
    )
    parser.add_argument(
        "--picture",
        nargs=2,
        type=Path,
        metavar=("RESULTS", "SVG"),
        help="measure nothing, draw a file written with --json",
    )
    return parser


if __name__ == "__main__":
    main()
