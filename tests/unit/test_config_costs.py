"""Cost rules and prices: from the configuration file to the values of the pipeline."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

from kit.configuration import load_text

from exporter.costs.events import CostEventRule
from exporter.costs.gen_ai import TokenPrice
from exporter.costs.rules import CostRule, FieldSource

FILE = """
exporters:
  openfinops:
    default_cost_rules: off
    cost_rules:
      - metric: acme.*
        attributes: {env: prod}
        kind: hourly_rate
        category: [attribute:sku, misc]
        resource_id: attribute:vm
        currency: CHF
        region: attribute:zone
        tags: {team: attribute:team}
        staleness: 2m
        identity: [vm, cloud.*]
        falls: correct
        notional: true
      - {metric: budget, kind: none}
      - {metric: codex.turn.token_usage, kind: tokens}
      - {metric: cents, kind: amount, factor: 0.01}
    cost_events:
      - event: claude_code.api_request
        amount: [cost_usd, cost]
        currency: USD
        category: [attribute:sku, ai]
        tags: {user: attribute:user.id}
        notional: true
    llm_prices:
      - {model: house-*, provider: own, input: 0.10, output: 3, currency: eur}
      - {model: other, input: 0, output: 1_000, cached_input: 0.01, cache_write: 1.25}
"""


def test_rules_and_prices_of_a_file(tmp_path: Path) -> None:
    found = load_text(tmp_path, FILE).exporter
    assert found.default_cost_rules is False
    assert found.cost_rules == (
        CostRule(
            metric="acme.*",
            kind="hourly_rate",
            attributes={"env": "prod"},
            category=(FieldSource(attribute="sku"), FieldSource(constant="misc")),
            resource_id=(FieldSource(attribute="vm"),),
            currency=(FieldSource(constant="CHF"),),
            region=(FieldSource(attribute="zone"),),
            tags={"team": FieldSource(attribute="team")},
            staleness_seconds=120.0,
            identity=("vm", "cloud.*"),
            falls="correct",
            notional=True,
        ),
        CostRule(metric="budget", kind=None),
        CostRule(metric="codex.turn.token_usage", kind="tokens"),
        CostRule(metric="cents", kind="amount", factor=Decimal("0.01")),
    )
    assert found.cost_events == (
        CostEventRule(
            "claude_code.api_request",
            ("cost_usd", "cost"),
            currency=(FieldSource(constant="USD"),),
            category=(FieldSource(attribute="sku"), FieldSource(constant="ai")),
            tags={"user": FieldSource(attribute="user.id")},
            notional=True,
        ),
    )
    assert found.llm_prices == (
        TokenPrice("house-*", Decimal("0.1"), Decimal(3), provider="own", currency="EUR"),
        TokenPrice(
            "other",
            Decimal(0),
            Decimal(1000),
            cached_input=Decimal("0.01"),
            cache_write=Decimal("1.25"),
        ),
    )


def test_the_table_shows_their_names(tmp_path: Path) -> None:
    rows = {key: value for key, value, _ in load_text(tmp_path, FILE).table}
    assert rows["exporters.openfinops.cost_rules"] == (
        "acme.* (hourly_rate), budget (never), codex.turn.token_usage (tokens), cents (amount)"
    )
    assert rows["exporters.openfinops.cost_events"] == "claude_code.api_request"
    assert rows["exporters.openfinops.llm_prices"] == "house-*, other"


def test_a_pipeline_for_logs_changes_no_setting(tmp_path: Path) -> None:
    text = (
        "receivers: {otlp: }\nexporters: {openfinops: {batch_size: 7}}\nservice:\n  pipelines:\n"
        "    metrics: {receivers: [otlp], exporters: [openfinops]}\n"
    )
    without = load_text(tmp_path, text)
    with_logs = load_text(
        tmp_path, f"{text}    logs: {{receivers: [otlp], exporters: [openfinops]}}\n"
    )
    assert with_logs == without
