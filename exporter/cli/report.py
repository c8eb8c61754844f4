"""`report`: what was spent in a period, compared with the time before it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from exporter.cli import output
from exporter.cli.options import ConfigOption, DbOption, opened_for_reading, store_settings
from exporter.cli.query import named_values
from exporter.cli.query_costs import (
    CategoryOption,
    EndOption,
    ResourceOption,
    StartOption,
    TagOption,
)
from exporter.errors import QueryError
from exporter.query import Reader, parse_duration, parse_time
from exporter.render import (
    CostReport,
    CurrencyReport,
    Share,
    render_report,
    render_report_html,
)

__all__ = ["cost_report", "report"]

_SECONDS_PER_DAY: Final = 86_400.0
_SECONDS_PER_HOUR: Final = 3_600.0
_MOST_BUCKETS: Final = 400


def report(
    *,
    since: Annotated[
        str, typer.Option("--since", "-s", metavar="DURATION", help="How far back: 24h, 7d, 30d.")
    ] = "30d",
    start: StartOption = None,
    end: EndOption = None,
    bucket: Annotated[
        str | None,
        typer.Option(
            "--bucket",
            "-b",
            metavar="DURATION",
            help="Length of a bar over time; without it an hour, a day or a week.",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option("--top", min=1, metavar="NUMBER", help="Most categories and resources."),
    ] = 10,
    category: CategoryOption = None,
    resource: ResourceOption = None,
    tag: TagOption = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html", metavar="FILE", help="Write one HTML page with plots, instead of text."
        ),
    ] = None,
    config: ConfigOption = None,
    db: DbOption = None,
) -> None:
    """Show what was spent in a period: total, trend, top categories and resources.

    For example:

        openfinops-exporter report

        openfinops-exporter report --since 7d --tag team=search

        openfinops-exporter report --start 2026-10-01 --end 2026-11-01 --html october.html
    """
    now = time.time()
    until = now if end is None else parse_time(end, now)
    begin = parse_time(since, until) if start is None else parse_time(start, now)
    width = None if bucket is None else parse_duration(bucket)
    filters = {
        "category": category,
        "resource_id": resource,
        "tags": named_values(tag, "--tag"),
    }
    with opened_for_reading(store_settings(config, db=db)) as backend:
        made = cost_report(Reader(backend), begin, until, width, top=top, filters=filters)
    if html is None:
        output.print_rich(*render_report(made))
        return
    try:
        html.write_text("".join(render_report_html(made)), encoding="utf-8")
    except OSError as error:
        raise QueryError(f"writing the report to {html} failed: {error.strerror}") from error
    output.print_note(f"The report is in {html}.")


def cost_report(
    reader: Reader,
    start: float,
    end: float,
    bucket_seconds: float | None,
    *,
    top: int,
    filters: Mapping[str, Any],
) -> CostReport:
    """Ask what a report says.

    Args:
        reader: of a started backend.
        start: epoch seconds.
        end: likewise, above `start`.
        bucket_seconds: length of a bucket; None: what suits the period.
        top: most categories and resources.
        filters: as `Reader.cost_totals` takes them.

    Raises:
        QueryError: the period is empty, or has too many buckets.
    """
    width = _bucket_seconds(end - start) if bucket_seconds is None else bucket_seconds
    if end <= start or (end - start) / width > _MOST_BUCKETS:
        raise QueryError(
            f"report: {end - start:.0f} s in buckets of {width:.0f} s; give a period above 0, "
            f"and at most {_MOST_BUCKETS} buckets"
        )

    def totals(since: float, until: float, **more: Any) -> list[dict[str, Any]]:
        return reader.cost_totals(since, until, **more, **filters)

    before = _by_currency(totals(start - (end - start), start))
    over_time = totals(start, end, bucket_seconds=width)
    categories = totals(start, end, group_by=["category"])
    resources = totals(start, end, group_by=["resource_id"])
    starts = _bucket_starts(start, end, width)
    currencies = [
        CurrencyReport(
            currency=currency,
            total=total,
            previous_total=before.get(currency, Decimal(0)),
            buckets=_filled(starts, over_time, currency),
            categories=_shares(categories, "category", currency, top),
            resources=_shares(resources, "resource_id", currency, top),
        )
        for currency, total in sorted(_by_currency(over_time).items())
    ]
    return CostReport(start, end, width, currencies)


def _by_currency(rows: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """The sum of the amounts; to ask for it would read all entries once more."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        sums[row["currency"]] = sums.get(row["currency"], Decimal(0)) + row["amount"]
    return sums


def _bucket_seconds(length_seconds: float) -> float:
    if length_seconds <= 3 * _SECONDS_PER_DAY:
        return _SECONDS_PER_HOUR
    if length_seconds <= 93 * _SECONDS_PER_DAY:
        return _SECONDS_PER_DAY
    return 7 * _SECONDS_PER_DAY


def _bucket_starts(start: float, end: float, width: float) -> list[float]:
    first, last = int(start // width), int(-(-end // width))
    return [place * width for place in range(first, last)]


def _filled(
    starts: Iterable[float], rows: Iterable[Mapping[str, Any]], currency: str
) -> list[tuple[float, Decimal]]:
    """Every bucket, also those without costs."""
    amounts = {
        round(row["timestamp"] * 1_000_000): row["amount"]
        for row in rows
        if row["currency"] == currency
    }
    return [(start, amounts.get(round(start * 1_000_000), Decimal(0))) for start in starts]


def _shares(rows: Iterable[Mapping[str, Any]], name: str, currency: str, top: int) -> list[Share]:
    """The dearest of one currency; rows come so. The others are one line more."""
    shares = [Share(row[name], row["amount"]) for row in rows if row["currency"] == currency]
    others = shares[top:]
    if not others:
        return shares
    rest = sum((share.amount for share in others), Decimal(0))
    return [*shares[:top], Share(f"{len(others)} others", rest)]
