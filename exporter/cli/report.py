"""`report`: the costs of a period, compared with the period before it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from exporter.cli import output
from exporter.cli.options import (
    CategoryOption,
    ConfigOption,
    DbOption,
    EndOption,
    ResourceOption,
    StartOption,
    TagOption,
    name_values,
)
from exporter.cli.store import open_reader
from exporter.errors import QueryError
from exporter.query import Reader, parse_duration, parse_time
from exporter.query.costs import exact_sum
from exporter.query.rows import CostReportRow
from exporter.render import (
    CostReport,
    CurrencyReport,
    Share,
    render_report,
    render_report_html,
)
from exporter.time_units import SECONDS_PER_DAY, seconds_to_micros

_SECONDS_PER_HOUR: Final = 3_600.0
_MAX_BUCKETS: Final = 400
_ZERO: Final = Decimal(0)


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
            help="Length of a bar over time. Without it an hour, a day or a week.",
        ),
    ] = None,
    top: Annotated[
        int,
        typer.Option(
            "--top", min=1, metavar="NUMBER", help="Maximum number of categories and resources."
        ),
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
    """Show the costs of a period: total, trend, top categories and resources.

    For example:

        openfinops-exporter report

        openfinops-exporter report --since 7d --tag team=search

        openfinops-exporter report --start 2026-10-01 --end 2026-11-01 --html october.html
    """
    now = time.time()
    end_time = now if end is None else parse_time(end, now)
    start_time = parse_time(since, end_time) if start is None else parse_time(start, now)
    bucket_seconds = None if bucket is None else parse_duration(bucket)
    filters = {
        "category": category,
        "resource_id": resource,
        "tags": name_values(tag, "--tag"),
    }
    with open_reader(config, db) as reader:
        result = cost_report(reader, start_time, end_time, bucket_seconds, top=top, filters=filters)
    if html is None:
        output.print_rich(*render_report(result))
        return
    try:
        html.write_text("".join(render_report_html(result)), encoding="utf-8")
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
    """Read the costs of a period and of the period of equal length before it.

    Args:
        reader: of a started backend.
        start: epoch seconds.
        end: epoch seconds, above `start`.
        bucket_seconds: length of a bucket; None for an hour, a day or a week, by the period.
        top: maximum number of categories and resources.
        filters: as `Reader.cost_totals` takes them.

    Raises:
        QueryError: the period is empty, or has too many buckets.
    """
    if bucket_seconds is None:
        bucket_seconds = _default_bucket_seconds(end - start)
    if end <= start or (end - start) / bucket_seconds > _MAX_BUCKETS:
        raise QueryError(
            f"report: {end - start:.0f} s in buckets of {bucket_seconds:.0f} s; give a period "
            f"above 0, and at most {_MAX_BUCKETS} buckets"
        )

    previous = {
        row["currency"]: row["amount"]
        for row in reader.cost_totals(start - (end - start), start, **filters)
    }
    rows = reader.cost_report(start, end, bucket_seconds=bucket_seconds, top=top, **filters)
    bucket_starts = [
        number * bucket_seconds
        for number in range(int(start // bucket_seconds), int(-(-end // bucket_seconds)))
    ]
    currencies = []
    for currency in dict.fromkeys(row["currency"] for row in rows):
        parts = {
            part: [row for row in rows if (row["part"], row["currency"]) == (part, currency)]
            for part in ("bucket", "category", "resource_id")
        }
        by_amount = sorted(parts["category"], key=itemgetter("amount"), reverse=True)
        currencies.append(
            CurrencyReport(
                currency=currency,
                total=exact_sum(row["amount"] for row in parts["bucket"]),
                previous_total=previous.get(currency, _ZERO),
                buckets=_all_buckets(bucket_starts, parts["bucket"]),
                categories=_shares(by_amount, top),
                resources=_shares(parts["resource_id"], top),
            )
        )
    # Only priced tokens have this category, so most stores need no further query.
    has_tokens = any((row["part"], row["name"]) == ("category", "ai") for row in rows)
    by_source = ["service_name", "source"]
    sources = reader.cost_totals(start, end, group_by=by_source, **filters) if has_tokens else []
    return CostReport(start, end, bucket_seconds, currencies, _twice_services(sources))


def _twice_services(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The services of which costs and priced tokens were counted.

    Args:
        rows: totals by service and source.
    """
    services: dict[str, set[str]] = {}
    for row in rows:
        if not row["amount"]:
            continue  # tokens that are not priced, because their service sends the cost
        services.setdefault(row["source"], set()).add(row["service_name"] or "")
    return sorted(services.get("metric", set()) & services.get("gen_ai", set()))


def _default_bucket_seconds(length_seconds: float) -> float:
    if length_seconds <= 3 * SECONDS_PER_DAY:
        return _SECONDS_PER_HOUR
    if length_seconds <= 93 * SECONDS_PER_DAY:
        return float(SECONDS_PER_DAY)
    return 7.0 * SECONDS_PER_DAY


def _all_buckets(
    starts: Iterable[float], rows: Iterable[CostReportRow]
) -> list[tuple[float, Decimal]]:
    """The amount of every bucket, 0 for buckets without costs."""
    amounts = {seconds_to_micros(row["timestamp"] or 0): row["amount"] for row in rows}
    return [(start, amounts.get(seconds_to_micros(start), _ZERO)) for start in starts]


def _shares(rows: Sequence[CostReportRow], top: int) -> list[Share]:
    """The most expensive, and one line for the sum of all others.

    Args:
        rows: the largest amount first; the last may be a sum already.
        top: the maximum number of lines without the last.
    """
    shares = [Share(row["name"], row["amount"]) for row in rows[:top]]
    others = rows[top:]
    if others:
        count = sum(row["groups"] for row in others)
        shares.append(Share(f"{count} others", exact_sum(row["amount"] for row in others)))
    return shares
