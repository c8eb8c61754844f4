"""Sizes as a table: estimates are marked, and empty columns are left out."""

from __future__ import annotations

import io
import json
from typing import Any

from rich.console import Console, RenderableType

from exporter.render import render_counts, render_sizes, render_sizes_json


def table(**changes: Any) -> dict[str, Any]:
    return {
        "table": "system_metrics",
        "rows": 2_000_000,
        "rows_are_exact": True,
        "size_bytes": 56_000_000,
        "oldest_timestamp": 1795453445.9,
        "newest_timestamp": 1795539845.0,
        "times_are_exact": True,
        "partitions": None,
        "compressed_partitions": None,
        "compression_ratio": None,
    } | changes


def sizes(*tables: dict[str, Any], **changes: Any) -> dict[str, Any]:
    all_sizes = {"series": 1_000, "total_bytes": 2**30, "free_bytes": None, "tables": list(tables)}
    return all_sizes | changes


def lines(shown: RenderableType) -> list[str]:
    stream = io.StringIO()
    Console(file=stream, width=140, markup=False, emoji=False, highlight=False).print(shown)
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_each_table_is_a_line_with_the_totals_below() -> None:
    assert lines(render_sizes(sizes(table(), free_bytes=1024))) == [
        "TABLE                ROWS       SIZE  BYTES/ROW         OLDEST (UTC)         NEWEST (UTC)",
        "─────────────────────────────────────────────────────────────────────────────────────────",
        "system_metrics  2,000,000  53.41 MiB         28  2026-11-23 17:04:05  2026-11-24 17:04:05",
        "2,000,000 rows · 1,000 series · 1 GiB in all · 1 KiB of it free for new rows",
    ]


def test_estimates_are_marked() -> None:
    [_, _, line, totals] = lines(
        render_sizes(sizes(table(rows_are_exact=False, times_are_exact=False)))
    )
    assert line.split() == [
        "system_metrics", "~2,000,000", "53.41", "MiB", "~28",
        "~2026-11-23", "17:04:05", "~2026-11-24", "17:04:05",
    ]  # fmt: skip
    assert totals == "~2,000,000 rows · 1,000 series · 1 GiB in all"


def test_partitions_and_compression_have_columns_if_there_are_any() -> None:
    partitioned = table(partitions=12)
    header, _, line, _ = lines(render_sizes(sizes(partitioned)))
    assert header.endswith("PARTITIONS")
    assert line.endswith(" 12")
    compressed = partitioned | {"compressed_partitions": 10, "compression_ratio": 14.2}
    header, _, line, other, _ = lines(
        render_sizes(sizes(compressed, partitioned | {"compressed_partitions": 0}))
    )
    assert header.split()[-3:] == ["PARTITIONS", "COMPRESSED", "RATIO"]
    assert line.split()[-3:] == ["12", "10", "14.2x"]
    assert other.split()[-3:] == ["12", "0", "-"]


def test_unknown_values_are_a_dash() -> None:
    nothing = table(rows=0, size_bytes=None, oldest_timestamp=None, newest_timestamp=None)
    assert lines(render_sizes(sizes(nothing)))[2].split() == [
        "system_metrics", "0", "-", "-", "-", "-"
    ]  # fmt: skip


def test_counts_are_lines() -> None:
    assert [line.split() for line in lines(render_counts({"a": 1_000, "b": 0}, "DELETED"))] == [
        ["TABLE", "DELETED"],
        ["──────────────"],
        ["a", "1,000"],
        ["b", "0"],
    ]


def test_json_is_one_object_with_iso_times_beside_timestamps() -> None:
    text = "".join(render_sizes_json({"location": "ü", **sizes(table())}))
    answer = json.loads(text)
    assert '"ü"' in text
    assert answer["tables"][0]["oldest_time"] == "2026-11-23T17:04:05.900000Z"
    assert list(answer["tables"][0])[4:6] == ["oldest_timestamp", "oldest_time"]
    assert {**answer, "tables": 0} == {"location": "ü", **sizes(), "tables": 0}
