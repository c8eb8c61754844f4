"""The costs of senders of AI spending, by payloads of their shape."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from kit.cost_sender import CUMULATIVE, DELTA, MINUTE, START, Sender, dotted, histogram
from kit.otlp.attributes import key_values
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from exporter.costs.gen_ai import TokenPrice, TokenPrices
from exporter.costs.rules import CostRule

HOUR = 60 * MINUTE
# Per million tokens: input 10, output 20, read from a cache 1, written to a cache 12.
PRICES = TokenPrices(
    [
        TokenPrice(
            "model-1", Decimal(10), Decimal(20), cached_input=Decimal(1), cache_write=Decimal(12)
        )
    ],
    use_library=False,
)
GEN_AI = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt-4o"}


def counter(
    name: str, value: float, unit: str = "", *, temporality: Any = DELTA, **attributes: Any
) -> Metric:
    metric = Metric(name=name, unit=unit)
    metric.sum.aggregation_temporality = temporality
    metric.sum.is_monotonic = True
    metric.sum.data_points.add(
        time_unix_nano=START, start_time_unix_nano=START - HOUR, as_double=value
    ).attributes.extend(key_values(dotted(attributes)))
    return metric


def tokens(kind: str, number: float, model: str = "model-1", **attributes: Any) -> Metric:
    return histogram(
        "gen_ai.client.token.usage",
        number,
        **{"gen_ai__token__type": kind, "gen_ai__request__model": model, **attributes},
    )


def with_unit(metric: Metric, unit: str) -> Metric:
    metric.unit = unit
    return metric


def take(sender: Sender, scope: str, *metrics: Metric) -> None:
    message = ExportMetricsServiceRequest()
    group = message.resource_metrics.add()
    group.resource.attributes.extend(key_values(sender.resource))
    group.scope_metrics.add().scope.name = scope
    group.scope_metrics[0].metrics.extend(metrics)
    sender.take(message.SerializeToString())


@pytest.mark.parametrize("name", ["gen_ai.usage.cost", "gen_ai.client.token.cost"])
@pytest.mark.parametrize("unit", ["USD", "usd", "{USD}", "$", ""])
@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_the_cost_histogram_of_litellm_and_openlit(name: str, unit: str, temporality: Any) -> None:
    sender = Sender()
    for minute, value in enumerate((0.0005, 0.001, 0.1)):
        sent = (0.0005, 0.0015, 0.1015)[minute] if temporality == CUMULATIVE else value
        at = START + minute * MINUTE
        metric = histogram(name, sent, at, temporality=temporality, **GEN_AI)
        sender.send(with_unit(metric, unit))
    assert sender.total() == Decimal("0.1015")
    entry = sender.entries()[0]
    assert (entry.currency, entry.category, entry.resource_id) == ("USD", "ai", "gpt-4o")
    basis = sender.samples[0].basis
    assert (basis.source, basis.source_name) == ("metric", name)
    assert sender.refused == {}


def test_a_cost_histogram_in_another_currency_keeps_it() -> None:
    sender = Sender()
    sender.send(with_unit(histogram("gen_ai.usage.cost", 2.0, **GEN_AI), "EUR"))
    assert {entry.currency for entry in sender.entries()} == {"EUR"}


def test_litellm_names_user_team_and_session_and_its_parameters_are_no_tag() -> None:
    sender = Sender()
    person = {
        "metadata.user_api_key_team_alias": "blue",
        "metadata.user_api_key_user_id": "u-7",
        "metadata.user_api_key_hash": "abc",
        "hidden_params": '{"model_id": 1}',
        "metadata.requester_metadata": "x" * 1_001,
    }
    sender.send(
        with_unit(
            histogram(
                "gen_ai.usage.cost",
                0.5,
                **GEN_AI,
                **{name.replace(".", "__"): value for name, value in person.items()},
            ),
            "USD",
        )
    )
    (entry,) = sender.entries()
    assert json.loads(entry.tags) == {
        "gen_ai.operation.name": "chat",
        "metadata.user_api_key_hash": "abc",
        "metadata.user_api_key_team_alias": "blue",
        "metadata.user_api_key_user_id": "u-7",
        "team": "blue",
        "user": "u-7",
    }


def test_litellm_and_openlit_send_their_tokens_besides_the_cost() -> None:
    for scope in ("litellm", "openlit.otel.metrics"):
        sender = Sender(prices=PRICES)
        take(
            sender,
            scope,
            with_unit(histogram("gen_ai.usage.cost", 0.25, **GEN_AI), "USD"),
            tokens("input", 1_000_000),
            tokens("output", 1_000_000, model="unknown"),
        )
        assert (sender.total(), sender.refused) == (Decimal("0.25"), {})


@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_claude_code(temporality: Any) -> None:
    sender = Sender(service__name="claude-code", prices=PRICES)
    about = {
        "model": "claude-sonnet-4-5",
        "session__id": "s-1",
        "user__id": "hash",
        "user__email": "a@b.example",
        "organization__id": "o-1",
        "terminal__type": "vscode",
    }
    take(
        sender,
        "com.anthropic.claude_code",
        counter("claude_code.cost.usage", 0.42, "USD", temporality=temporality, **about),
        counter("claude_code.token.usage", 10_000, "tokens", type="cacheRead", **about),
    )
    (entry,) = sender.entries()
    assert (entry.amount, entry.currency) == (Decimal("0.42"), "USD")
    assert (entry.category, entry.resource_id) == ("ai", "claude-sonnet-4-5")
    tags = json.loads(entry.tags)
    assert (tags["user"], tags["session"]) == ("a@b.example", "s-1")
    assert tags["organization.id"] == "o-1"


@pytest.mark.parametrize(
    ("name", "unit", "value", "amount"),
    [
        ("agentswarm.cost.usd", "{usd}", 1.5, "1.5"),
        ("agentswarm_cost_usd_total", "", 1.5, "1.5"),
        ("crew.cost.usd", "", 0.25, "0.25"),
        ("proxy.cost_microusd", "", 1_500_000, "1.5"),
        ("proxy_cost_microusd_total", "1", 1, "0.000001"),
        ("claude_code_cost_usage_USD_total", "", 2.0, "2"),
    ],
)
@pytest.mark.parametrize("temporality", [DELTA, CUMULATIVE])
def test_metrics_whose_name_says_the_currency(
    name: str, unit: str, value: float, amount: str, temporality: Any
) -> None:
    sender = Sender()
    sender.send(
        counter(name, value, unit, temporality=temporality, model="m-1", harness="claude", team="t")
    )
    (entry,) = sender.entries()
    assert (entry.amount, entry.currency) == (Decimal(amount), "USD")
    assert (entry.category, entry.resource_id) == ("ai", "m-1")
    assert json.loads(entry.tags)["team"] == "t"


def test_a_name_with_a_currency_is_no_ai_cost_without_a_model_and_no_cost_as_a_gauge() -> None:
    sender = Sender(host__name="n1")
    sender.send(counter("cluster.cost.usd", 2.0))
    (entry,) = sender.entries()
    assert (entry.category, entry.resource_id) == ("other", "n1")
    balance = Metric(name="account.cost.usd")
    balance.gauge.data_points.add(time_unix_nano=START, as_double=9.0)
    sender.send(balance)
    assert len(sender.samples) == 1


def test_a_rule_takes_currency_and_factor_from_a_known_name() -> None:
    sender = Sender(CostRule("*", "amount"))
    sender.send(
        counter("claude_code.cost.usage", 0.5),
        counter("a.cost.usd", 0.25),
        counter("b.cost_microusd", 250_000),
    )
    assert sender.total() == Decimal(1)


def test_what_a_subscription_includes_is_not_added_to_what_is_billed() -> None:
    sender = Sender(
        CostRule("claude_code.cost.usage", "amount", notional=True), service__name="claude-code"
    )
    sender.send(
        counter("claude_code.cost.usage", 0.42, "USD", model="m-1"),
        counter("spend", 1.0, "USD"),
    )
    amounts = {entry.currency: entry.amount for entry in sender.entries()}
    assert amounts == {"USD": Decimal(1), "USD notional": Decimal("0.42")}
    (notional,) = (entry for entry in sender.entries() if entry.currency != "USD")
    assert json.loads(notional.tags)["notional"] is True
    # A rule finds the fields that it does not set as the shipped rules do.
    assert (notional.category, notional.resource_id) == ("ai", "m-1")


# Tokens


def test_cached_input_has_its_own_price() -> None:
    sender = Sender(prices=PRICES)
    sender.send(
        tokens("input", 1_000),
        tokens("output", 500),
        tokens("cacheRead", 4_000),
        tokens("cacheCreation", 2_000),
    )
    # 1000 x 10 + 500 x 20 + 4000 x 1 + 2000 x 12, by the million
    assert sender.total() == Decimal("0.048")
    assert {entry.category for entry in sender.entries()} == {"ai"}


def test_types_that_overlap_are_paid_for_once() -> None:
    sender = Sender(CostRule("codex.turn.token_usage", "tokens"), prices=PRICES)
    numbers = {
        "total": 1_500,
        "input": 1_000,
        "cached_input": 400,
        "output": 500,
        "reasoning_output": 100,
    }
    for kind, number in numbers.items():
        sender.send(
            histogram("codex.turn.token_usage", number, token_type=kind, model="model-1"),
        )
        sender.send(tokens(kind, number))
    # Each: 600 x 10 + 400 x 1 + 500 x 20, by the million.
    assert sender.total() == 2 * Decimal("0.0164")
    assert sender.refused == {}


def test_codex_is_not_priced_without_a_rule() -> None:
    sender = Sender(prices=PRICES)
    about = {"token_type": "input", "model": "model-1"}
    sender.send(histogram("codex.turn.token_usage", 5, **about))
    assert (sender.samples, sender.refused) == ([], {})


def test_tokens_of_a_counter_are_priced() -> None:
    sender = Sender(prices=PRICES)
    name = "gen_ai.client.token.usage"
    for kind in ("input", "total"):  # Spring AI
        sender.send(
            counter(
                name,
                1_000,
                temporality=CUMULATIVE,
                gen_ai__token__type=kind,
                gen_ai__response__model="model-1",
            )
        )
    assert sender.total() == Decimal("0.01")


LIBRARY = TokenPrices()


@pytest.mark.parametrize(
    ("provider", "model", "price"),
    [
        ("gcp.gen_ai", "gemini-2.5-flash", "0.3"),
        ("gcp.vertex_ai", "gemini-2.5-flash", "0.3"),
        ("x_ai", "grok-4", "3"),
        ("azure.ai.inference", "gpt-4o", "2.5"),
        ("azure.ai.openai", "gpt-4o", "2.5"),
        ("aws.bedrock", "claude-sonnet-4-5", "3"),
        ("openai", "gpt-4o", "2.5"),
    ],
)
def test_providers_as_opentelemetry_names_them(provider: str, model: str, price: str) -> None:
    pytest.importorskip("genai_prices")
    sender = Sender(prices=LIBRARY)
    sender.send(tokens("input", 1_000_000, model=model, gen_ai__provider__name=provider))
    assert (sender.total(), sender.refused) == (Decimal(price), {})


def test_a_provider_of_the_library_is_not_replaced_by_another() -> None:
    pytest.importorskip("genai_prices")
    sender = Sender(prices=LIBRARY)
    sender.send(tokens("input", 5, model="gpt-4o", gen_ai__provider__name="anthropic"))
    assert "no price is known of the model 'gpt-4o' of 'anthropic'" in sender.reasons


def test_the_library_prices_cached_input() -> None:
    pytest.importorskip("genai_prices")
    sender = Sender(prices=LIBRARY)
    for kind, number in (("input", 1_000_000), ("cached_input", 400_000)):
        sender.send(tokens(kind, number, model="gpt-4o", gen_ai__provider__name="openai"))
    assert sender.total() == Decimal("2.0")  # 0.6 x 2.50 + 0.4 x 1.25


def test_each_point_has_the_price_of_its_time() -> None:
    pytest.importorskip("genai_prices")
    sender = Sender(prices=LIBRARY)
    day = datetime(2026, 11, 3, tzinfo=UTC)
    about = {
        "gen_ai__token__type": "input",
        "gen_ai__request__model": "deepseek-chat",
        "gen_ai__provider__name": "deepseek",
    }
    # 0.27 by day, and 0.135 from 16:30 to 00:30 UTC; the last point covers the minute before 16:30.
    prices = []
    for hour, minute in ((3, 0), (20, 0), (4, 0), (16, 30)):
        at = int(day.replace(hour=hour, minute=minute).timestamp()) * 1_000_000_000
        sender.send(histogram("gen_ai.client.token.usage", 1_000_000, at, **about))
        prices.append(sender.samples[-1].basis.factor * 1_000_000)
    assert prices == [Decimal(text) for text in ("0.27", "0.135", "0.27", "0.27")]
    assert sender.samples[0].basis is sender.samples[2].basis


# One spend is counted once


def test_tokens_of_a_service_that_states_its_cost_are_not_priced() -> None:
    sender = Sender(service__name="chat", prices=PRICES)
    cost = counter("llm.cost", 0.5, "USD", gen_ai__request__model="Model-1")
    sender.send(tokens("input", 1_000), cost)
    sender.send(tokens("output", 1_000), tokens("input", 500, model="nobody", provider="x"))
    assert sender.total() == Decimal("0.5")
    assert "no price is known of the model 'nobody'" in sender.reasons
    other = Sender(service__name="other", prices=PRICES)
    other.send(tokens("input", 1_000))
    assert other.total() == Decimal("0.01")


def test_tokens_that_were_not_priced_do_not_count_later() -> None:
    """After a restart the tokens may come before the cost; then only their increase counts."""

    def input_tokens(number: float, at: int) -> Metric:
        about = {"gen_ai__token__type": "input", "gen_ai__request__model": "model-1"}
        name = "gen_ai.client.token.usage"
        return histogram(name, number, at, temporality=CUMULATIVE, **about)

    stating = Sender(service__name="chat", prices=PRICES)
    stating.send(input_tokens(1_000_000, START), counter("llm.cost", 0.5, "USD", model="model-1"))
    restarted = Sender(service__name="chat", prices=PRICES)
    restarted.samples = stating.samples
    restarted.send(input_tokens(1_000_100, START + MINUTE))
    assert restarted.total() == Decimal("0.501")


def test_a_model_is_known_with_and_without_its_provider() -> None:
    sender = Sender(service__name="chat", prices=PRICES)
    sender.send(tokens("input", 1_000), counter("llm.cost", 0.5, "USD", model="own/model-1"))
    assert sender.total() == Decimal("0.5")


def test_a_rule_prices_the_tokens_of_a_sender_that_states_its_cost() -> None:
    sender = Sender(CostRule("gen_ai.client.token.usage", "tokens"), prices=PRICES)
    take(sender, "litellm", tokens("input", 1_000))
    assert sender.total() == Decimal("0.01")


def test_a_service_whose_cost_names_no_model_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sender = Sender(service__name="chat", prices=PRICES)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            sender.send(tokens("input", 1_000), counter("spend", 0.5, "USD"))
            sender.send(tokens("output", 1_000))
    (message,) = caplog.messages
    assert "service 'chat' sends costs (spend) that name no model" in message
    assert "{metric: gen_ai.client.token.usage, attributes: {service.name: chat}, kind: none}" in (
        message
    )


def test_a_cost_that_comes_after_its_tokens_is_named_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sender = Sender(service__name="chat", prices=PRICES)
    cost = counter("llm.cost", 0.5, "USD", model="model-1")
    with caplog.at_level(logging.WARNING):
        sender.send(tokens("input", 1_000))
        sender.send(cost)
        sender.send(cost, counter("spend", 1.0, "USD"), tokens("output", 1_000))
    (message,) = caplog.messages
    assert "service 'chat' sends the cost of a model (llm.cost) whose tokens" in message
    # The cost has one time and counts once; of the tokens, those before it are priced.
    assert sender.total() == Decimal("0.5") + Decimal(1) + Decimal("0.01")


def test_a_service_whose_tokens_are_not_priced_is_not_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sender = Sender(service__name="chat", prices=PRICES)
    with caplog.at_level(logging.WARNING):
        sender.send(
            tokens("input", 1_000),
            tokens("input", 1_000, model="nobody"),
            counter("llm.cost", 0.5, "USD", model="model-1"),
            counter("spend", 1.0, "USD"),
        )
    assert caplog.messages == []


def test_a_node_that_opencost_sends_twice_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    sender = Sender(k8s__cluster__name="c")

    def node(at: int, **attributes: Any) -> Metric:
        metric = Metric(name="node_total_hourly_cost")
        point = metric.gauge.data_points.add(time_unix_nano=at, as_double=0.1)
        point.attributes.extend(key_values({"node": "n1", **attributes}))
        return metric

    with caplog.at_level(logging.WARNING):
        sender.send(node(START))
        sender.send(node(START + MINUTE, provider_id="gce://n1"))  # a node that was replaced
        assert caplog.messages == []
        for minute in (2, 3):
            at = START + minute * MINUTE
            sender.send(node(at), node(at, provider_id="gce://n1"))
    (message,) = caplog.messages
    assert "OpenCost sends node 'n1' of cluster 'c' twice" in message
