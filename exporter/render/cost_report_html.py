"""A report of costs as one HTML page that needs nothing else: styles and plots are in it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from html import escape
from typing import Final

from exporter.render.cost_report import (
    CostReport,
    CurrencyReport,
    Share,
    bucket_name,
    period,
)
from exporter.render.money import format_amount, format_change

__all__ = ["render_report_html"]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #1d2433; background: #fff; }
h1 { font-size: 1.5rem; } h2 { margin-top: 2.5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 0.3rem; }
.total { font-size: 2.2rem; font-weight: 600; } .muted { color: #667085; }
table { border-collapse: collapse; width: 100%; }
td, th { padding: 0.25rem 0.6rem; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr + tr td { border-top: 1px solid #e4e7ec; } td.bar { width: 40%; } td { overflow-wrap: anywhere; }
svg { display: block; width: 100%; } rect { fill: #2f6fed; } rect.credit { fill: #d92d20; }
text { font-size: 11px; fill: #667085; } line { stroke: #98a2b3; }
@media (prefers-color-scheme: dark) { body { color: #e4e7ec; background: #161b26; }
  tr + tr td { border-color: #333b4d; } }
"""
_PLOT_WIDTH: Final = 900
_PLOT_HEIGHT: Final = 220
_LABEL_HEIGHT: Final = 20


def render_report_html(report: CostReport) -> Iterator[str]:
    """The page, in parts; every text of a sender is escaped."""
    title = f"Costs {escape(period(report))}"
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    )
    if not report.currencies:
        yield "<p>There is no cost entry in this period.</p>\n"
    for one in report.currencies:
        yield from _currency(report, one)
    yield "</body></html>\n"


def _currency(report: CostReport, one: CurrencyReport) -> Iterator[str]:
    trend = format_change(one.total, one.before)
    compared = "" if trend is None else f", {trend}"
    currency = escape(one.currency)
    yield f'<h2>{currency}</h2>\n<div class="total">{format_amount(one.total)} {currency}</div>\n'
    yield f'<div class="muted">the same time before: {format_amount(one.before)}{compared}</div>\n'
    yield "<h3>Over time</h3>\n"
    yield from _plot(report, one)
    yield from _table("Category", one.categories, one)
    yield from _table("Resource", one.resources, one)


def _plot(report: CostReport, one: CurrencyReport) -> Iterator[str]:
    """Bars from a line at 0: costs up, credits down."""
    amounts = [amount for _, amount in one.buckets]
    highest, lowest = max([*amounts, Decimal(0)]), min([*amounts, Decimal(0)])
    scale = _PLOT_HEIGHT / float(highest - lowest or 1)
    zero = float(highest) * scale
    step = _PLOT_WIDTH / max(1, len(amounts))
    height = _PLOT_HEIGHT + _LABEL_HEIGHT
    yield f'<svg viewBox="0 0 {_PLOT_WIDTH} {height}" role="img" aria-label="costs over time">\n'
    for place, (start, amount) in enumerate(one.buckets):
        tall = abs(float(amount)) * scale
        top = zero - tall if amount > 0 else zero
        kind = "" if amount >= 0 else ' class="credit"'
        yield (
            f'<rect{kind} x="{place * step + step * 0.1:.2f}" y="{top:.2f}" '
            f'width="{step * 0.8:.2f}" height="{tall:.2f}">'
            f"<title>{bucket_name(report, start)}: {format_amount(amount)}</title></rect>\n"
        )
    yield f'<line x1="0" y1="{zero:.2f}" x2="{_PLOT_WIDTH}" y2="{zero:.2f}"/>\n'
    if one.buckets:
        first, last = (bucket_name(report, one.buckets[place][0]) for place in (0, -1))
        yield f'<text x="0" y="{height - 4}">{first}</text>'
        yield f'<text x="{_PLOT_WIDTH}" y="{height - 4}" text-anchor="end">{last}</text>'
    yield "</svg>\n"


def _table(header: str, shares: Sequence[Share], one: CurrencyReport) -> Iterator[str]:
    yield (
        f'<h3>{header}</h3>\n<table><tr><th>{header}</th><th class="number">'
        f'{escape(one.currency)}</th><th class="number">Share</th><th></th></tr>\n'
    )
    largest = max((share.amount for share in shares), default=Decimal(0))
    for share in shares:
        part = f"{share.amount / one.total:.1%}" if one.total > 0 else ""
        length = 100 * share.amount / largest if share.amount > 0 else Decimal(0)
        yield (
            f"<tr><td>{escape(share.name) or '-'}</td>"
            f'<td class="number">{format_amount(share.amount)}</td><td class="number">{part}</td>'
            '<td class="bar"><svg viewBox="0 0 100 6" preserveAspectRatio="none" height="12">'
            f'<rect width="{length:.2f}" height="6"/></svg></td></tr>\n'
        )
    yield "</table>\n"
