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
    ("amount", "currency", "expected"),
    [
        ("0", "USD", "0.00"),
        ("1", "USD", "1.00"),
        ("1234567.891", "USD", "1,234,567.89"),
        ("-0.5", "USD", "-0.50"),
        ("0.01", "USD", "0.01"),
        ("0.00123456", "USD", "0.00123"),
        ("0.000000001", "USD", "0.00000000100"),
        ("-0.0000000154", "USD", "-0.0000000154"),
        ("0.000000000000000001", "USD", "0.000000000000000001"),
        ("0", "JPY", "0"),
        ("1234.6", "JPY", "1,235"),
        ("0.25", "JPY", "0.250"),
        ("12", "KWD", "12.000"),
        ("1234.5678", "BHD", "1,234.568"),
        ("0.001", "KWD", "0.001"),
        ("0.0009", "KWD", "0.000900"),
    ],
)
def test_amounts_have_the_places_of_the_currency_or_more_for_small_ones(
    amount: str, currency: str, expected: str
) -> None:
    assert format_amount(Decimal(amount), currency) == expected


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
    amount = Decimal("1234.000000000000000001")
    row = {"category": "compute", "currency": "USD", "amount": amount, "entries": 1_000}
    assert '"amount": 1234.000000000000000001,' in "".join(render_json([row]))
    assert "".join(render_csv([row])) == (
        "category,currency,amount,entries\r\ncompute,USD,1234.000000000000000001,1000\r\n"
    )
    shown = printed(render_table([row, row | {"currency": "KWD"}], columns=list(row)))
    assert "1,234.00 " in shown
    assert "1,234.000" in shown
    assert "1,000" in shown


@pytest.mark.parametrize("amount", ["1E-9", "1E-18", "-1E-10", "1E+3", "0E-18"])
def test_exact_amounts_have_no_exponent(amount: str) -> None:
    row = {"amount": Decimal(amount)}
    plain = format(Decimal(amount), "f")
    assert "".join(render_json([row])) == f'[\n{{"amount": {plain}}}\n]\n'
    assert "".join(render_csv([row])) == f"amount\r\n{plain}\r\n"
