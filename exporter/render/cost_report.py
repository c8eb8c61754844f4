"""What a report of costs says, as plain values and as tables and bars for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from exporter.render.money import format_amount, format_change
from exporter.render.table import escape_controls

__all__ = ["CostReport", "CurrencyReport", "Share", "bucket_name", "period", "render_report"]

_BAR_COLUMNS: Final = 40
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_SECONDS_PER_DAY: Final = 86_400


@dataclass(frozen=True, slots=True)
class Share:
    """One line of a chart: a name and an amount."""

    name: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CurrencyReport:
    """What was spent in one currency.

    Attributes:
        currency: its code.
        total: of the period.
        before: of the period of the same length before it.
        buckets: start of each bucket in epoch seconds, and the amount; oldest first, no gaps.
        categories: the dearest first.
        resources: the dearest first.
    """

    currency: str
    total: Decimal
    before: Decimal
    buckets: Sequence[tuple[float, Decimal]]
    categories: Sequence[Share]
    resources: Sequence[Share]


@dataclass(frozen=True, slots=True)
class CostReport:
    """What was spent from `start` to before `end` (epoch seconds), by currency."""

    start: float
    end: float
    bucket_seconds: float
    currencies: Sequence[CurrencyReport]


def period(report: CostReport) -> str:
    """The period of a report, for people."""
    start, end = (f"{_moment(time):%Y-%m-%d %H:%M}" for time in (report.start, report.end))
    return f"{start} to {end} UTC"


def bucket_name(report: CostReport, start: float) -> str:
    """The start of a bucket, as short as it may be."""
    whole_days = report.bucket_seconds % _SECONDS_PER_DAY == 0
    return f"{_moment(start):%Y-%m-%d}" if whole_days else f"{_moment(start):%Y-%m-%d %H:%M}"


def render_report(report: CostReport) -> Iterator[RenderableType]:
    """Tables and bars, one currency after the other."""
    yield Text(f"Costs {period(report)}", style="bold")
    if not report.currencies:
        yield Text("There is no cost entry in this period.")
    for one in report.currencies:
        trend = format_change(one.total, one.before)
        compared = "" if trend is None else f", {trend}"
        yield Text("")
        yield Text.assemble(
            (f"{one.currency} {format_amount(one.total)}", "bold green"),
            f"  (the same time before: {format_amount(one.before)}{compared})",
        )
        over_time = [Share(bucket_name(report, start), amount) for start, amount in one.buckets]
        yield from _chart("OVER TIME", over_time, one, with_share=False)
        yield from _chart("CATEGORY", one.categories, one)
        yield from _chart("RESOURCE", one.resources, one)


def _chart(
    header: str, shares: Sequence[Share], one: CurrencyReport, *, with_share: bool = True
) -> Iterator[RenderableType]:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(Text(header), overflow="fold")
    table.add_column(Text(one.currency), justify="right", no_wrap=True)
    table.add_column(Text("SHARE" if with_share else ""), justify="right", no_wrap=True)
    table.add_column(no_wrap=True, style="cyan")
    largest = max((share.amount for share in shares), default=Decimal(0))
    for share in shares:
        part = f"{share.amount / one.total:.1%}" if with_share and one.total > 0 else ""
        name = Text(escape_controls(share.name) or "-")
        table.add_row(name, format_amount(share.amount), part, _bar(share.amount, largest))
    yield Text("")
    yield table


def _bar(amount: Decimal, largest: Decimal) -> str:
    if amount <= 0:
        return ""
    eighths = max(1, round(amount / largest * _BAR_COLUMNS * 8))
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def _moment(epoch_seconds: float) -> datetime:
    return datetime.fromtimestamp(epoch_seconds, UTC)
