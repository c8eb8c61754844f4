"""Amounts and reports of costs, as text and as HTML."""

from __future__ import annotations

import io
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from rich.console import Console, RenderableType

from exporter.render import (
    CostReport,
    CurrencyReport,
    Share,
    format_amount,
    render_csv,
    render_json,
    render_report,
    render_report_html,
    render_table,
)
from exporter.render.quantities import format_change

DAY = 86_400.0
START = 1_793_491_200.0  # 2026-11-01
HOSTILE = "<script>alert(1)</script>\x1b[31m"


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        ("0", "0.00"),
        ("1", "1.00"),
        ("1234567.891", "1,234,567.89"),
        ("-0.5", "-0.50"),
        ("0.01", "0.01"),
        ("0.00123456", "0.00123"),
        ("0.000000001", "0.000000001"),
        ("-0.000000015", "-0.000000015"),
    ],
)
def test_amounts_have_two_places_or_more_for_small_ones(amount: str, expected: str) -> None:
    assert format_amount(Decimal(amount)) == expected


def test_a_change_needs_a_positive_previous_amount() -> None:
    assert format_change(Decimal(90), Decimal(100)) == "-10.0 %"
    assert format_change(Decimal(90), Decimal(0)) is None
    assert format_change(Decimal(90), Decimal(-1)) is None


def report(**different: Decimal) -> CostReport:
    values = {"total": Decimal(30), "previous_total": Decimal(20)} | different
    amounts = [Decimal(10), Decimal(0), Decimal(-5), Decimal(25)]
    buckets = [(START + place * DAY, amount) for place, amount in enumerate(amounts)]
    shares = [Share("compute", Decimal(20)), Share(HOSTILE, Decimal(10))]
    usd = CurrencyReport(
        currency="USD", buckets=buckets, categories=shares, resources=shares, **values
    )
    return CostReport(START, START + 4 * DAY, DAY, [usd], [HOSTILE, "chat"])


def printed(*parts: RenderableType) -> str:
    stream = io.StringIO()
    Console(file=stream, width=120, color_system=None).print(*parts, sep="\n")
    return stream.getvalue()


def text_of(report: CostReport) -> str:
    return printed(*render_report(report))


def test_a_report_in_a_terminal() -> None:
    lines = text_of(report()).splitlines()
    assert lines[0] == "Costs 2026-11-01 00:00 to 2026-11-05 00:00 UTC"
    assert lines[2] == "USD 30.00  (the same time before: 20.00, +50.0 %)"
    bars = {line.split()[0]: line.count("█") for line in lines if line.startswith("2026-11")}
    assert bars == {"2026-11-01": 16, "2026-11-02": 0, "2026-11-03": 0, "2026-11-04": 40}
    [compute, _] = [line.split() for line in lines if line.startswith("compute")]
    assert compute[1:3] == ["20.00", "66.7%"]
    assert "\x1b" not in "".join(lines)
    assert "Service chat sends costs and also tokens, which are priced." in " ".join(lines)


def test_a_report_without_costs() -> None:
    nothing = CostReport(START, START + DAY, DAY, [])
    assert "no cost entry" in text_of(nothing)
    assert "no cost entry" in "".join(render_report_html(nothing))


class Page(HTMLParser):
    """Collects the elements of a page; fails if one is not closed."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_as_html_is_complete_and_loads_no_other_file() -> None:
    html = "".join(render_report_html(report()))
    page = Page()
    page.feed(html)
    page.close()
    assert page.open == []
    tags = [tag for tag, _ in page.found]
    assert "script" not in tags
    assert not {"link", "img", "iframe"} & set(tags)
    assert not any(name in attrs for _, attrs in page.found for name in ("src", "href"))
    assert HOSTILE.partition("\x1b")[0] in page.text
    plot = [attrs for tag, attrs in page.found if tag == "rect" and "x" in attrs]
    heights = [float(attrs["height"] or "nan") for attrs in plot]
    assert heights == pytest.approx([220 / 3, 0, 220 / 6, 220 * 5 / 6], abs=0.01)
    assert [attrs.get("class") for attrs in plot] == [None, None, "credit", None]


def test_a_period_with_only_credits() -> None:
    made = report(total=Decimal(-5), previous_total=Decimal(0))
    assert "USD -5.00" in text_of(made)
    assert "-5.00 USD" in "".join(render_report_html(made))


def test_exact_amounts_in_json_csv_and_tables() -> None:
    row = {"category": "compute", "amount": Decimal("1234.500000001"), "entries": 1_000}
    assert '"amount": 1234.500000001' in "".join(render_json([row]))
    assert (
        "".join(render_csv([row])) == "category,amount,entries\r\ncompute,1234.500000001,1000\r\n"
    )
    shown = printed(render_table([row], columns=list(row)))
    assert "1,234.50" in shown
    assert "1,000" in shown
