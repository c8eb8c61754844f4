"""A report of costs as plain values, as tables and bars for a terminal, and as an HTML page. Pure.

The HTML page needs no other file: styles and plots are part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from html import escape
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from exporter.render.quantities import format_amount, format_change
from exporter.render.table import escape_controls
from exporter.time_units import SECONDS_PER_DAY

_NO_COSTS: Final = "There is no cost entry in this period."
_BAR_COLUMNS: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
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


@dataclass(frozen=True, slots=True)
class Share:
    """One line of a chart: a name and an amount."""

    name: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CurrencyReport:
    """What was spent in one currency.

    Attributes:
        currency: ISO 4217 code.
        total: of the period.
        previous_total: of the period of the same length before it.
        buckets: start of each bucket in epoch seconds, and the amount; oldest first, no gaps.
        categories: the most expensive first.
        resources: the most expensive first.
    """

    currency: str
    total: Decimal
    previous_total: Decimal
    buckets: Sequence[tuple[float, Decimal]]
    categories: Sequence[Share]
    resources: Sequence[Share]

    def text(self, amount: Decimal) -> str:
        """An amount of this currency."""
        return format_amount(amount, self.currency)


@dataclass(frozen=True, slots=True)
class CostReport:
    """What was spent from `start` to before `end` (epoch seconds), by currency.

    `twice_services` are services of which both costs and priced tokens were counted.
    """

    start: float
    end: float
    bucket_seconds: float
    currencies: Sequence[CurrencyReport]
    twice_services: Sequence[str] = ()


def render_report(report: CostReport) -> Iterator[RenderableType]:
    """Tables and bars for a terminal, one currency after the other."""
    yield Text(_title(report), style="bold")
    if not report.currencies:
        yield Text(_NO_COSTS)
    for currency in report.currencies:
        yield Text("")
        yield Text.assemble(
            (
                f"{currency.currency} {currency.text(currency.total)}",
                "bold green",
            ),
            f"  ({_comparison(currency)})",
        )
        over_time = [
            Share(_bucket_name(report, start), amount) for start, amount in currency.buckets
        ]
        yield from _chart("OVER TIME", over_time, currency, with_share=False)
        yield from _chart("CATEGORY", currency.categories, currency)
        yield from _chart("RESOURCE", currency.resources, currency)
    for name in report.twice_services:
        yield Text("")
        yield Text(_twice_note(escape_controls(name)), style="bold yellow")


def render_report_html(report: CostReport) -> Iterator[str]:
    """The page, in parts; every text of a sender is escaped."""
    title = escape(_title(report))
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    )
    if not report.currencies:
        yield f"<p>{_NO_COSTS}</p>\n"
    for currency in report.currencies:
        code = escape(currency.currency)
        yield f'<h2>{code}</h2>\n<div class="total">{currency.text(currency.total)} {code}</div>\n'
        yield f'<div class="muted">{_comparison(currency)}</div>\n<h3>Over time</h3>\n'
        yield from _html_plot(report, currency)
        yield from _html_table("Category", currency.categories, currency)
        yield from _html_table("Resource", currency.resources, currency)
    for name in report.twice_services:
        yield f"<p>{escape(_twice_note(name))}</p>\n"
    yield "</body></html>\n"


def _twice_note(service: str) -> str:
    return (
        f"Service {service or '-'} sends costs and also tokens, which are priced. If the costs are "
        "those of the tokens, they are counted twice: add {metric: gen_ai.client.token.usage, "
        f"attributes: {{service.name: {service or '...'}}}, kind: none}} to cost_rules."
    )


def _title(report: CostReport) -> str:
    start, end = (f"{_moment(time):%Y-%m-%d %H:%M}" for time in (report.start, report.end))
    return f"Costs {start} to {end} UTC"


def _bucket_name(report: CostReport, start: float) -> str:
    """The start of a bucket: a day, or day and time if buckets are not whole days."""
    is_whole_days = report.bucket_seconds % SECONDS_PER_DAY == 0
    return f"{_moment(start):%Y-%m-%d}" if is_whole_days else f"{_moment(start):%Y-%m-%d %H:%M}"


def _moment(epoch_seconds: float) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, UTC)


def _comparison(currency: CurrencyReport) -> str:
    change = format_change(currency.total, currency.previous_total)
    previous = f"the same time before: {currency.text(currency.previous_total)}"
    return previous if change is None else f"{previous}, {change}"


def _percentage(share: Share, currency: CurrencyReport) -> str:
    return f"{share.amount / currency.total:.1%}" if currency.total > 0 else ""


def _max_amount(shares: Sequence[Share]) -> Decimal:
    return max((share.amount for share in shares), default=Decimal(0))


def _chart(
    header: str, shares: Sequence[Share], currency: CurrencyReport, *, with_share: bool = True
) -> Iterator[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(Text(header), overflow="fold")
    table.add_column(Text(currency.currency), justify="right", no_wrap=True)
    table.add_column(Text("SHARE" if with_share else ""), justify="right", no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    max_amount = _max_amount(shares)
    for share in shares:
        percentage = _percentage(share, currency) if with_share else ""
        name = Text(escape_controls(share.name) or "-")
        bar = _bar(share.amount, max_amount)
        table.add_row(name, currency.text(share.amount), percentage, bar)
    yield Text("")
    yield table


def _bar(amount: Decimal, max_amount: Decimal) -> str:
    if amount <= 0:
        return ""
    eighths = max(1, round(amount / max_amount * _BAR_COLUMNS * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _html_plot(report: CostReport, currency: CurrencyReport) -> Iterator[str]:
    """Bars on a line at 0: costs up, credits down."""
    amounts = [amount for _, amount in currency.buckets]
    highest, lowest = max([*amounts, Decimal(0)]), min([*amounts, Decimal(0)])
    scale = _PLOT_HEIGHT / float(highest - lowest or 1)
    zero_y = float(highest) * scale
    step = _PLOT_WIDTH / max(1, len(amounts))
    height = _PLOT_HEIGHT + _LABEL_HEIGHT
    yield f'<svg viewBox="0 0 {_PLOT_WIDTH} {height}" role="img" aria-label="costs over time">\n'
    for index, (start, amount) in enumerate(currency.buckets):
        bar_height = abs(float(amount)) * scale
        top = zero_y - bar_height if amount > 0 else zero_y
        css_class = "" if amount >= 0 else ' class="credit"'
        yield (
            f'<rect{css_class} x="{index * step + step * 0.1:.2f}" y="{top:.2f}" '
            f'width="{step * 0.8:.2f}" height="{bar_height:.2f}">'
            f"<title>{_bucket_name(report, start)}: {currency.text(amount)}</title></rect>\n"
        )
    yield f'<line x1="0" y1="{zero_y:.2f}" x2="{_PLOT_WIDTH}" y2="{zero_y:.2f}"/>\n'
    if currency.buckets:
        first, last = (_bucket_name(report, currency.buckets[index][0]) for index in (0, -1))
        yield f'<text x="0" y="{height - 4}">{first}</text>'
        yield f'<text x="{_PLOT_WIDTH}" y="{height - 4}" text-anchor="end">{last}</text>'
    yield "</svg>\n"


def _html_table(header: str, shares: Sequence[Share], currency: CurrencyReport) -> Iterator[str]:
    yield (
        f'<h3>{header}</h3>\n<table><tr><th>{header}</th><th class="number">'
        f'{escape(currency.currency)}</th><th class="number">Share</th><th></th></tr>\n'
    )
    max_amount = _max_amount(shares)
    for share in shares:
        percentage = _percentage(share, currency)
        bar_width = 100 * share.amount / max_amount if share.amount > 0 else Decimal(0)
        yield (
            f"<tr><td>{escape(share.name) or '-'}</td>"
            f'<td class="number">{currency.text(share.amount)}</td>'
            f'<td class="number">{percentage}</td>'
            '<td class="bar"><svg viewBox="0 0 100 6" preserveAspectRatio="none" height="12">'
            f'<rect width="{bar_width:.2f}" height="6"/></svg></td></tr>\n'
        )
    yield "</table>\n"
