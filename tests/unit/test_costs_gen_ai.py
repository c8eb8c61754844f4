"""The cost of tokens of language models."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from kit.otlp.attributes import key_values
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from exporter.costs.cost_deriver import CostDeriver
from exporter.costs.entry_calculation import compute_entries
from exporter.costs.gen_ai import TokenPrice, TokenPrices
from exporter.model import CostEntry, CostSample
from exporter.series_cache import SeriesCache
from exporter.wire import decode

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
START = 1_750_000_000_000_000_000
MINUTE = 60_000_000_000
TABLE = (
    TokenPrice("house-*", Decimal("2.50"), Decimal(10), provider="own", currency="EUR"),
    TokenPrice("gpt-4o", Decimal(1), Decimal(2)),
)


class Sender:
    def __init__(self, *table: TokenPrice, use_library: bool = False) -> None:
        self.series = SeriesCache()
        prices = TokenPrices(table, use_library=use_library)
        self.cost_deriver = CostDeriver(prices=prices, is_cached=self.series.has_series)
        self.samples: list[CostSample] = []
        self.refused: dict[tuple[str, str], int] = {}

    def send(
        self,
        tokens: float | None,
        at: int = START,
        *,
        temporality: Any = DELTA,
        exponential: bool = False,
        count: int = 1,
        name: str = "gen_ai.client.token.usage",
        kind: str = "input",
        **attributes: str,
    ) -> None:
        message = ExportMetricsServiceRequest()
        metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name=name)
        data = metric.exponential_histogram if exponential else metric.histogram
        data.aggregation_temporality = temporality
        point = data.data_points.add(time_unix_nano=at, start_time_unix_nano=START - MINUTE)
        point.count = count
        if exponential:
            point.zero_count = count
        if tokens is not None:
            point.sum = tokens
        named = {
            "gen_ai.provider.name": "own",
            "gen_ai.request.model": "house-1",
            "gen_ai.token.type": kind,
            **{key.replace("__", "."): value for key, value in attributes.items()},
        }
        point.attributes.extend(key_values({key: text for key, text in named.items() if text}))
        decoded = decode(message.SerializeToString(), self.series)
        assert not decoded.rejections.counts
        batch, refused = self.cost_deriver.derive(decoded.batch)
        self.samples += batch.cost_samples
        self.refused.update(refused)

    def entries(self) -> list[CostEntry]:
        return compute_entries(self.samples, {}, lambda *_: ())[0]

    def total(self) -> Decimal:
        return sum((entry.amount for entry in self.entries()), Decimal(0))


@pytest.mark.parametrize("exponential", [False, True])
def test_delta_sums_of_tokens_times_their_price(*, exponential: bool) -> None:
    sender = Sender(*TABLE)
    for minute in range(3):
        at = START + minute * MINUTE
        sender.send(1_000, at, exponential=exponential)
        sender.send(200, at, exponential=exponential, kind="output")
    assert sender.total() == Decimal("0.0135")  # 3 x (1000 x 2.50 + 200 x 10) / 10^6
    entry = sender.entries()[0]
    assert (entry.currency, entry.category, entry.resource_id) == ("EUR", "ai", "house-1")
    assert entry.source == "gen_ai"
    kinds = {json.loads(entry.tags)["gen_ai.token.type"] for entry in sender.entries()}
    assert kinds == {"input", "output"}


def test_cumulative_sums_count_their_increase() -> None:
    sender = Sender(*TABLE)
    for minute, tokens in enumerate((1_000, 3_000, 500)):  # the last after a restart
        sender.send(tokens, START + minute * MINUTE, temporality=CUMULATIVE)
    assert sender.total() == Decimal("0.00875")  # 3500 tokens


def test_the_response_model_is_priced_before_the_request_model() -> None:
    sender = Sender(*TABLE)
    sender.send(1_000_000, gen_ai__response__model="gpt-4o")
    assert sender.total() == Decimal(1)
    assert sender.entries()[0].resource_id == "gpt-4o"


def test_the_request_model_is_priced_if_the_response_model_has_no_price() -> None:
    sender = Sender(*TABLE)
    sender.send(1_000_000, gen_ai__response__model="house_1_2026-01-01")
    assert sender.total() == Decimal("2.5")


def test_the_former_attribute_of_the_provider_is_read() -> None:
    sender = Sender(*TABLE)
    sender.send(1_000_000, gen_ai__provider__name="", gen_ai__system="own")
    assert sender.total() == Decimal("2.5")


def test_an_unknown_model_is_refused_with_its_name() -> None:
    sender = Sender(*TABLE)
    sender.send(5, gen_ai__request__model="nobody-7", gen_ai__provider__name="acme")
    sender.send(5, kind="reasoning")
    assert sender.samples == []
    reasons = " ".join(reason for _, reason in sender.refused)
    assert "no price is known of the model 'nobody-7' of 'acme'; add it to llm_prices" in reasons
    assert "gen_ai.token.type is 'reasoning'" in reasons


def test_a_point_without_a_sum_is_refused_and_other_histograms_cost_nothing() -> None:
    sender = Sender(*TABLE)
    sender.send(None)
    assert "it has no sum" in next(iter(sender.refused))[1]
    sender.refused.clear()
    sender.send(None, count=0)  # an empty histogram needs no sum
    assert (sender.refused, sender.total()) == ({}, 0)
    sender.samples.clear()
    sender.send(5.0, name="gen_ai.client.operation.duration")
    assert sender.samples == []


def test_the_library_prices_models_that_the_table_lacks() -> None:
    pytest.importorskip("genai_prices")
    sender = Sender(*TABLE, use_library=True)
    claude = "claude-3-5-sonnet-20241022"
    for kind in ("input", "output"):
        sender.send(
            1_000_000, kind=kind, gen_ai__provider__name="anthropic", gen_ai__request__model=claude
        )
    assert sender.total() == Decimal(18)  # 3 and 15 USD, as published
    assert {entry.currency for entry in sender.entries()} == {"USD"}
    sender.send(1_000_000, gen_ai__provider__name="openai", gen_ai__request__model="gpt-4o")
    assert sender.total() == Decimal(19)  # the table comes first
    sender.send(1, gen_ai__provider__name="openai", gen_ai__request__model="nobody-7")
    sender.send(1, gen_ai__provider__name="nobody", gen_ai__request__model="nobody-7")
    assert len(sender.refused) == 2
