"""What the use of language models costs: the number of tokens times their price.

`gen_ai.client.token.usage` is a histogram whose sum is a number of tokens. Prices come from the
configuration, and otherwise from the library genai-prices (`exporter.costs.price_library`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final, Literal

from exporter.costs.cost_series import CostSeries, cost_series
from exporter.costs.default_rules import MODEL_SOURCES, ai_rule
from exporter.costs.entry_fields import Attributes, CostRefusedError, attribute_text, first_text
from exporter.costs.price_library import Prices, Quote, library_quote
from exporter.costs.rules import CostRule, FieldSource, series_attributes
from exporter.model import CostBasis, Series

TOKEN_USAGE_METRIC: Final = "gen_ai.client.token.usage"  # noqa: S105 - the name of a metric
TOKEN_RULE: Final = CostRule(metric=TOKEN_USAGE_METRIC, kind="tokens")

_TOKEN_METRIC_TYPES: Final = frozenset({"histogram", "exponential_histogram", "sum"})
_PROVIDER_ATTRIBUTES: Final = ("gen_ai.provider.name", "gen_ai.system", "provider")
_TYPE_ATTRIBUTES: Final = ("gen_ai.token.type", "token_type", "token.type", "type")
_TOKENS_PER_UNIT: Final = 1_000_000
# Senders of the cost of their calls, besides the tokens, by the beginning of their scope or by SDK.
_STATING_SCOPES: Final = ("litellm", "openlit", "com.anthropic.claude_code")
_STATING_SDKS: Final = frozenset({"openlit"})

# How the tokens of a type are priced. Anthropic counts what is read from and written to its cache
# besides the input ("cache_read", "cache_write"); OpenAI and Gemini count it within the input
# ("cached_input", "written_input"). "included" tokens are paid for with those of another type.
_Pricing = Literal[
    "input", "output", "cache_read", "cache_write", "cached_input", "written_input", "included"
]
# By the name of a token type in small letters, with "_" between its words and without "_tokens".
_PRICINGS: Final[dict[str, _Pricing]] = {
    "input": "input",
    "prompt": "input",
    "output": "output",
    "completion": "output",
    "cache_read": "cache_read",
    "cache_read_input": "cache_read",
    "cache_creation": "cache_write",
    "cache_creation_input": "cache_write",
    "cache_write": "cache_write",
    "cached_input": "cached_input",
    "input_cached": "cached_input",
    "cached": "cached_input",
    "cache": "cached_input",
    "cache_write_input": "written_input",
    "reasoning": "included",
    "reasoning_output": "included",
    "output_reasoning": "included",
    "total": "included",
}


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The price of a million tokens of a model.

    Attributes:
        model: name, with `*`, `?` and `[...]` as in file names.
        input: price of a million tokens that are sent.
        output: price of a million tokens that are received.
        cached_input: price of a million tokens that are read from a cache; None for `input`.
        cache_write: price of a million tokens that are written to a cache; None for `input`.
        provider: name, with the same patterns as `model`.
        currency: ISO 4217 code.
    """

    model: str
    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    provider: str = "*"
    currency: str = "USD"


class TokenPrices:
    """Finds the price of a series of token counts.

    Args:
        table: the first price that matches counts.
        use_library: whether to ask genai-prices, if it is installed, after the table.
    """

    def __init__(self, table: Iterable[TokenPrice] = (), *, use_library: bool = True) -> None:
        self._table = tuple(table)
        self._use_library = use_library

    def cost_series(self, rule: CostRule, series: Series) -> CostSeries | None:
        """How the points of a series of token counts become cost samples.

        Args:
            rule: of kind "tokens", which matches the series.
            series: the series.

        Returns:
            None if its tokens are within those of another series.

        Raises:
            CostRefusedError: the model has no price, or the series names no model.
        """
        if series.metric_type not in _TOKEN_METRIC_TYPES:
            raise CostRefusedError(f"a {series.metric_type} is no number of tokens")
        point, _ = series_attributes(series)
        pricing = _token_pricing(point)
        if pricing == "included":
            return None
        quote = self._quote(point)
        rule = ai_rule(
            replace(rule, kind="cumulative", currency=(FieldSource(constant=quote.currency),))
        )
        # A fixed price is checked here, so that the series is refused once; a price that changes
        # with time may be unknown at some times, and is checked for each point.
        factor = _unit_price(pricing, quote.prices) / _TOKENS_PER_UNIT if quote.at is None else 1
        priced = cost_series(rule, series, factor=Decimal(factor), source="gen_ai")
        if quote.at is None:
            return priced
        return priced._replace(basis_at=_basis_at(priced.basis, pricing, quote.at))

    def _quote(self, attributes: Attributes) -> Quote:
        """The prices of the model that the attributes of a point name.

        Raises:
            CostRefusedError: no price is known.
        """
        provider = first_text(attributes, _PROVIDER_ATTRIBUTES)
        # The name in the response is asked first. It often has a date added; if there is no price
        # for it, the name in the request is asked.
        for name in MODEL_SOURCES:
            model = attribute_text(attributes.get(name))
            if model:
                found = self._table_quote(provider, model)
                if found is None and self._use_library:
                    found = library_quote(provider, model)
                if found is not None:
                    return found
        model = first_text(attributes, MODEL_SOURCES)
        raise CostRefusedError(
            f"no price is known of the model {model[:100]!r} of {provider[:50]!r}; "
            "add it to llm_prices"
        )

    def _table_quote(self, provider: str, model: str) -> Quote | None:
        for price in self._table:
            if fnmatchcase(model, price.model) and fnmatchcase(provider, price.provider):
                prices = Prices(price.input, price.output, price.cached_input, price.cache_write)
                return Quote(price.currency, prices)
        return None


def states_its_cost(series: Series) -> bool:
    """Whether the sender of a series is known to send the cost of its calls besides the tokens."""
    scope: str = json.loads(series.scope).get("name") or ""
    _, resource = series_attributes(series)
    return (
        scope.lower().startswith(_STATING_SCOPES)
        or attribute_text(resource.get("telemetry.sdk.name")).lower() in _STATING_SDKS
    )


def model_names(series: Series) -> frozenset[str]:
    """The names of the language model of a series, in small letters.

    Of a name such as `openai/gpt-4o` there is also the part without the provider.
    """
    point, _ = series_attributes(series)
    given = [attribute_text(point.get(name)).lower() for name in MODEL_SOURCES]
    return frozenset(filter(None, (*given, *(name.rpartition("/")[2] for name in given))))


def _token_pricing(attributes: Attributes) -> _Pricing:
    text = first_text(attributes, _TYPE_ATTRIBUTES)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[-. ]", "_", text).lower()
    pricing = _PRICINGS.get(re.sub(r"_tokens?$", "", name))
    if pricing is None:
        raise CostRefusedError(
            f"gen_ai.token.type is {text[:20]!r}, and prices are for input, output, cache_read, "
            "cache_creation and cached_input"
        )
    return pricing


def _unit_price(pricing: _Pricing, prices: Prices) -> Decimal:
    """The price of a million tokens with this pricing.

    Tokens within the input are paid for with the input already: their price is the difference.

    Raises:
        CostRefusedError: the price is unknown.
    """
    price: Decimal | None
    if pricing == "output":
        price = prices.output
    elif prices.input is None:
        price = None
    else:
        cached = prices.input if prices.cached_input is None else prices.cached_input
        written = prices.input if prices.cache_write is None else prices.cache_write
        price = {
            "input": prices.input,
            "cache_read": cached,
            "cache_write": written,
            "cached_input": cached - prices.input,
            "written_input": written - prices.input,
        }[pricing]
    if price is None:
        raise CostRefusedError(f"the model has no price for {pricing} tokens; add it to llm_prices")
    return price


def _basis_at(
    basis: CostBasis, pricing: _Pricing, prices_at: Callable[[int], Prices]
) -> Callable[[int], CostBasis]:
    """The basis of a point by its time in nanoseconds; points with one price share an object."""
    by_prices: dict[Prices, CostBasis] = {}

    def basis_at(time_unix_nano: int) -> CostBasis:
        prices = prices_at(time_unix_nano)
        found = by_prices.get(prices)
        if found is None:
            factor = basis.factor * _unit_price(pricing, prices) / _TOKENS_PER_UNIT
            found = by_prices[prices] = replace(basis, factor=factor)
        return found

    return basis_at
