"""The cost of tokens of language models."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from kit.cost_sender import CUMULATIVE, MINUTE, START, Sender, histogram

from exporter.costs.gen_ai import TokenPrice, TokenPrices

TABLE = (
    TokenPrice("house-*", Decimal("2.50"), Decimal(10), provider="own", currency="EUR"),
    TokenPrice("gpt-4o", Decimal(1), Decimal(2)),
)


class TokenSender(Sender):
    """A sender of numbers of tokens, with the prices of a table."""

    def __init__(self, *, use_library: bool = False) -> None:
        super().__init__(prices=TokenPrices(TABLE, use_library=use_library))

    def send_tokens(
        self,
        tokens: float | None,
        at: int = START,
        *,
        name: str = "gen_ai.client.token.usage",
        kind: str = "input",
        count: int = 1,
        **different: Any,
    ) -> None:
        options = {
            "gen_ai__provider__name": "own",
            "gen_ai__request__model": "house-1",
            "gen_ai__token__type": kind,
            **different,
        }
        given = {key: option for key, option in options.items() if option != ""}
        self.send(histogram(name, tokens, at, count=count, **given))


@pytest.mark.parametrize("exponential", [False, True])
def test_delta_sums_of_tokens_times_their_price(*, exponential: bool) -> None:
    sender = TokenSender()
    for minute in range(3):
        at = START + minute * MINUTE
        sender.send_tokens(1_000, at, exponential=exponential)
        sender.send_tokens(200, at, exponential=exponential, kind="output")
    assert sender.total() == Decimal("0.0135")  # 3 x (1000 x 2.50 + 200 x 10) / 10^6
    entry = sender.entries()[0]
    assert (entry.currency, entry.category, entry.resource_id) == ("EUR", "ai", "house-1")
    assert entry.source == "gen_ai"
    kinds = {json.loads(entry.tags)["gen_ai.token.type"] for entry in sender.entries()}
    assert kinds == {"input", "output"}


def test_cumulative_sums_count_their_increase() -> None:
    sender = TokenSender()
    for minute, tokens in enumerate((1_000, 3_000, 500)):  # the last after a restart
        sender.send_tokens(tokens, START + minute * MINUTE, temporality=CUMULATIVE)
    assert sender.total() == Decimal("0.00875")  # 3500 tokens


def test_the_response_model_is_priced_before_the_request_model() -> None:
    sender = TokenSender()
    sender.send_tokens(1_000_000, gen_ai__response__model="gpt-4o")
    assert sender.total() == Decimal(1)
    assert sender.entries()[0].resource_id == "gpt-4o"


def test_the_request_model_is_priced_if_the_response_model_has_no_price() -> None:
    sender = TokenSender()
    sender.send_tokens(1_000_000, gen_ai__response__model="house_1_2026-01-01")
    assert sender.total() == Decimal("2.5")


def test_the_former_attribute_of_the_provider_is_read() -> None:
    sender = TokenSender()
    sender.send_tokens(1_000_000, gen_ai__provider__name="", gen_ai__system="own")
    assert sender.total() == Decimal("2.5")


def test_an_unknown_model_is_refused_with_its_name() -> None:
    sender = TokenSender()
    sender.send_tokens(5, gen_ai__request__model="nobody-7", gen_ai__provider__name="acme")
    sender.send_tokens(5, kind="audio")
    assert sender.samples == []
    reasons = " ".join(reason for _, reason in sender.refused)
    assert "no price is known of the model 'nobody-7' of 'acme'; add it to llm_prices" in reasons
    assert "gen_ai.token.type is 'audio'" in reasons


def test_a_point_without_a_sum_is_refused_and_other_histograms_cost_nothing() -> None:
    sender = TokenSender()
    sender.send_tokens(None)
    assert "it has no sum" in next(iter(sender.refused))[1]
    sender.refused.clear()
    sender.send_tokens(None, count=0)  # an empty histogram needs no sum
    assert (sender.refused, sender.total()) == ({}, 0)
    sender.samples.clear()
    sender.send_tokens(5.0, name="gen_ai.client.operation.duration")
    assert sender.samples == []


def test_the_library_prices_models_that_the_table_lacks() -> None:
    pytest.importorskip("genai_prices")
    sender = TokenSender(use_library=True)
    claude = "claude-3-5-sonnet-20241022"
    for kind in ("input", "output"):
        sender.send_tokens(
            1_000_000, kind=kind, gen_ai__provider__name="anthropic", gen_ai__request__model=claude
        )
    assert sender.total() == Decimal(18)  # 3 and 15 USD, as published
    assert {entry.currency for entry in sender.entries()} == {"USD"}
    sender.send_tokens(1_000_000, gen_ai__provider__name="openai", gen_ai__request__model="gpt-4o")
    assert sender.total() == Decimal(19)  # the table comes first
    sender.send_tokens(1, gen_ai__provider__name="openai", gen_ai__request__model="nobody-7")
    sender.send_tokens(1, gen_ai__provider__name="nobody", gen_ai__request__model="nobody-7")
    assert len(sender.refused) == 2
