import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from exporter.render import render_table


def point(**changes: Any) -> dict[str, Any]:
    return {
        "timestamp": 1795453445.9,
        "metric_name": "system.memory.usage",
        "metric_type": "gauge",
        "value": 1_300_000_000.0,
        "unit": "By",
        "cluster_id": "prod",
        "node_id": "n1",
        "service_name": None,
        "attributes": {},
        "resource": {"host.name": "n1"},
    } | changes


def shown(rows: Sequence[dict[str, Any]], width: int = 100, **options: Any) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, markup=False, emoji=False, highlight=False)
    console.print(render_table(rows, **options))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_point_is_a_line_with_its_time_in_utc_and_its_value_with_a_unit() -> None:
    lines = shown([point(), point(value=None, attributes={"state": "used"})])
    assert lines == [
        "TIME (UTC)           METRIC                   VALUE  ATTRIBUTES",
        "───────────────────────────────────────────────────────────────",
        "2026-11-23 17:04:05  system.memory.usage  1.211 GiB",
        "2026-11-23 17:04:05  system.memory.usage          -  state=used",
        "cluster prod · node n1",
    ]


def test_keys_with_different_values_have_a_column() -> None:
    lines = shown([point(node_id="n1"), point(node_id="n2", service_name="shop")])
    assert lines[0].split() == ["TIME", "(UTC)", "METRIC", "VALUE", "NODE", "SERVICE"]
    assert lines[3].split()[-2:] == ["n2", "shop"]
    assert lines[-1] == "cluster prod"


def test_numbers_are_right_aligned() -> None:
    lines = shown([point(value=value, unit="") for value in (7, 1234.5, 0.25)])
    assert len({len(line) for line in lines[2:5]}) == 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"value": 0.25, "unit": "1"}, "25 %"),
        ({"value": 3.0, "unit": "1"}, "3"),
        ({"value": 0.25, "unit": "1", "metric_type": "sum"}, "0.25"),
        ({"value": 1.0, "unit": "1", "metric_name": "system.cpu.utilization"}, "100 %"),
        ({"value": 3.5, "unit": None}, "3.5"),
        (
            {"value": None, "unit": "s", "count": 4, "sum": 3.0, "max": 1.5},
            "n=4 avg=750 ms max=1.5 s",
        ),
        ({"value": None, "count": 0, "sum": 0.0, "max": None}, "n=0"),
        ({"value": None, "count": None, "sum": None}, "-"),
        (
            {
                "value": None,
                "unit": "ms",
                "count": 2,
                "sum": None,
                "quantiles": [{"quantile": 0.5, "value": 1.0}, {"quantile": 0.99, "value": 20}],
            },
            "n=2 p50=1 ms p99=20 ms",
        ),
    ],
)
def test_values(changes: dict[str, Any], expected: str) -> None:
    line = shown([point(**changes)], columns=["value"])[2]
    assert line.strip() == expected


def test_attributes_are_written_as_a_user_types_them() -> None:
    attributes = {"plain": "x", "spaced": "a b", "empty": "", "n": 80, "ok": True, "l": [1, "a"]}
    line = shown([point(attributes=attributes)], columns=["attributes"])[2]
    assert line == 'plain=x spaced="a b" empty="" n=80 ok=true l=[1, "a"]'


def test_control_characters_of_a_sender_are_escaped() -> None:
    row = point(metric_name="a\x1b[31m\nb", attributes={"k\r": "\x1b]0;x\x07"}, node_id="\x1b[2J")
    lines = shown([row], title="\x1b[5m")
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert "\\x1b[31m\\nb" in text
    assert "\\x1b]0;x\\x07" in text
    assert "node \\x1b[2J" in text


def test_markup_is_shown_as_text() -> None:
    assert "[red]x[/red]" in "\n".join(shown([point(metric_name="[red]x[/red]")]))


def test_columns_can_be_chosen() -> None:
    lines = shown([point()], columns=["metric_name", "resource", "missing"])
    assert lines[0].split() == ["METRIC", "RESOURCE", "MISSING"]
    assert lines[2].split() == ["system.memory.usage", "host.name=n1", "-"]
    assert len(lines) == 3


def test_an_aggregation_is_named_once_below_the_table() -> None:
    row = {
        "timestamp": 0.0,
        "metric_name": "requests",
        "metric_type": "sum",
        "aggregation": "rate",
        "value": 2.0,
        "unit": "{request}/s",
        "attributes": {"http.route": "/"},
    }
    lines = shown([row], title="Requests")
    assert lines[0] == "Requests"
    assert lines[1].split() == ["TIME", "(UTC)", "METRIC", "VALUE", "ATTRIBUTES"]
    assert lines[3] == "1970-01-01 00:00:00  requests  2 request/s  http.route=/"
    assert lines[4] == "aggregation rate"


def test_a_list_of_metrics() -> None:
    row = {
        "metric_name": "time",
        "metric_type": "exponential_histogram",
        "unit": "s",
        "description": "How long it took",
        "series": 1234,
        "last_timestamp": 1795453445.0,
    }
    lines = shown([row, row | {"last_timestamp": None}])
    assert lines[0] == ("METRIC  TYPE            UNIT  SERIES  LAST (UTC)           DESCRIPTION")
    assert lines[2] == (
        "time    exp. histogram  s      1,234  2026-11-23 17:04:05  How long it took"
    )
    assert "  -  " in lines[3]


@pytest.mark.parametrize("width", [60, 80, 200])
def test_names_and_attributes_are_complete_on_a_narrow_terminal(width: int) -> None:
    name, attributes = "system.network.connection.count", {"state": "ESTABLISHED", "n": 1}
    lines = shown([point(metric_name=name, value=1, attributes=attributes)], width=width)
    header, _, *body, _ = lines
    metric, value, rest = (header.index(word) for word in ("METRIC", "VALUE", "ATTRIBUTES"))
    assert max(map(len, lines)) <= width
    assert "".join(line[metric:value].strip() for line in body) == name
    assert "".join(line[rest:] for line in body).replace(" ", "") == "state=ESTABLISHEDn=1"


def test_no_rows_show_a_hint() -> None:
    text = " ".join(shown([]))
    assert "Nothing matches" in text
    assert "longer time range" in text
