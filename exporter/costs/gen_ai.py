"""What the use of language models costs: the number of tokens times their price.

`gen_ai.client.token.usage` is a histogram whose sum is a number of tokens. Prices come from the
configuration, and otherwise from the library genai-prices, which works without the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple

from exporter.costs.cost_series import CostSeries, cost_series
from exporter.costs.default_rules import MODEL_SOURCES, ai_rule
from exporter.costs.entry_fields import Attributes, CostRefusedError, attribute_text, first_text
from exporter.costs.rules import CostRule, FieldSource, series_attributes
from exporter.model import CostBasis, Series
from exporter.time_units import NANOSECONDS_PER_SECOND

TOKEN_USAGE_METRIC: Final = "gen_ai.client.token.usage"  # noqa: S105 - the name of a metric
TOKEN_RULE: Final = CostRule(metric=TOKEN_USAGE_METRIC, kind="tokens")

_TOKEN_METRIC_TYPES: Final = frozenset({"histogram", "exponential_histogram", "sum"})
_PROVIDER_ATTRIBUTES: Final = ("gen_ai.provider.name", "gen_ai.system", "provider")
_TYPE_ATTRIBUTES: Final = ("gen_ai.token.type", "token_type", "token.type", "type")
_TOKENS_PER_PRICE: Final = 1_000_000
# These send the cost of their calls besides the tokens.
_STATING_SCOPES: Final = ("litellm", "openlit", "com.anthropic.claude_code")
_STATING_SDKS: Final = frozenset({"openlit"})

_TokenPart = Literal[
    "input", "output", "cache_read", "cache_write", "cached_input", "written_input", "counted"
]
# By the name of a token type in small letters with "_" between its words. Anthropic counts what is
# read from and written to its cache besides the input; OpenAI and Gemini count it as a part of the
# input. What `counted` names is a part of another type, at the same price.
_TOKEN_PARTS: Final[dict[str, _TokenPart]] = {
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
    "reasoning": "counted",
    "reasoning_output": "counted",
    "output_reasoning": "counted",
    "total": "counted",
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


class _Prices(NamedTuple):
    """The prices of a million tokens; None if unknown."""

    input: Decimal | None
    output: Decimal | None
    cached_input: Decimal | None
    cache_write: Decimal | None


class _Quote(NamedTuple):
    """The prices of a model; `at` gives those at a time in nanoseconds, None if they are fixed."""

    currency: str
    prices: _Prices
    at: Callable[[int], _Prices] | None = None


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
            None if its tokens are a part of those of another series.

        Raises:
            CostRefusedError: the model has no price, or the series names no model.
        """
        if series.metric_type not in _TOKEN_METRIC_TYPES:
            raise CostRefusedError(f"a {series.metric_type} is no number of tokens")
        point, _ = series_attributes(series)
        part = _token_part(point)
        if part == "counted":
            return None
        quote = self._quote(point)
        rule = ai_rule(
            replace(rule, kind="cumulative", currency=(FieldSource(constant=quote.currency),))
        )
        # Fixed prices are checked once; those that change with time may be unknown at some times.
        factor = _part_price(part, quote.prices) / _TOKENS_PER_PRICE if quote.at is None else 1
        priced = cost_series(rule, series, factor=Decimal(factor), source="gen_ai")
        if quote.at is None:
            return priced
        return priced._replace(basis_at=_basis_at(priced.basis, part, quote.at))

    def _quote(self, attributes: Attributes) -> _Quote:
        """The prices of the model that a point names."""
        provider = first_text(attributes, _PROVIDER_ATTRIBUTES)
        # The name in the response often has a date added. Without a price for it, the name in the
        # request decides.
        for name in MODEL_SOURCES:
            model = attribute_text(attributes.get(name))
            if model:
                found = self._table_quote(provider, model) or self._library_quote(provider, model)
                if found is not None:
                    return found
        model = first_text(attributes, MODEL_SOURCES)
        raise CostRefusedError(
            f"no price is known of the model {model[:100]!r} of {provider[:50]!r}; "
            "add it to llm_prices"
        )

    def _table_quote(self, provider: str, model: str) -> _Quote | None:
        for price in self._table:
            if fnmatchcase(model, price.model) and fnmatchcase(provider, price.provider):
                prices = _Prices(price.input, price.output, price.cached_input, price.cache_write)
                return _Quote(price.currency, prices)
        return None

    def _library_quote(self, provider: str, model: str) -> _Quote | None:
        library = _genai_prices() if self._use_library else None
        if library is None:
            return None
        # The library finds a provider by a part of its name, and OpenTelemetry names some that it
        # does not know: gcp.gen_ai, x_ai, azure.ai.inference. Without a provider it finds the one
        # that makes the model.
        is_own_name = not provider or provider in _library_providers()
        found = _library_model(library, provider, model)
        if found is None and not is_own_name:
            found = _library_model(library, "", model)
        if found is None:
            return None
        if isinstance(found.prices, list):
            return _Quote("USD", _Prices(None, None, None, None), _prices_at(found))
        return _Quote("USD", _library_prices(found.prices))


def states_its_cost(series: Series) -> bool:
    """Whether the sender of a series is known to send the cost of its calls besides the tokens."""
    scope: str = json.loads(series.scope).get("name") or ""
    _, resource = series_attributes(series)
    return (
        scope.lower().startswith(_STATING_SCOPES)
        or attribute_text(resource.get("telemetry.sdk.name")).lower() in _STATING_SDKS
    )


def model_names(series: Series) -> frozenset[str]:
    """The names of the language model that the points of a series give, in small letters.

    A name such as `openai/gpt-4o` is also given without its provider.
    """
    point, _ = series_attributes(series)
    given = [attribute_text(point.get(name)).lower() for name in MODEL_SOURCES]
    return frozenset(filter(None, (*given, *(name.rpartition("/")[2] for name in given))))


def _token_part(attributes: Attributes) -> _TokenPart:
    text = first_text(attributes, _TYPE_ATTRIBUTES)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[-. ]", "_", text).lower()
    part = _TOKEN_PARTS.get(re.sub(r"_tokens?$", "", name))
    if part is None:
        raise CostRefusedError(
            f"gen_ai.token.type is {text[:20]!r}, and prices are for input, output, cache_read, "
            "cache_creation and cached_input"
        )
    return part


def _part_price(part: _TokenPart, prices: _Prices) -> Decimal:
    """The price of a million tokens of a part.

    A part of the input is paid for with the input already: its price is the difference.

    Raises:
        CostRefusedError: the price is unknown.
    """
    price: Decimal | None
    if part == "output":
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
        }[part]
    if price is None:
        raise CostRefusedError(f"the model has no price for {part} tokens; add it to llm_prices")
    return price


def _basis_at(
    basis: CostBasis, part: _TokenPart, prices_at: Callable[[int], _Prices]
) -> Callable[[int], CostBasis]:
    """The basis of a point by its time; one object for each price."""
    by_prices: dict[_Prices, CostBasis] = {}

    def basis_at(time_unix_nano: int) -> CostBasis:
        prices = prices_at(time_unix_nano)
        found = by_prices.get(prices)
        if found is None:
            factor = basis.factor * _part_price(part, prices) / _TOKENS_PER_PRICE
            found = by_prices[prices] = replace(basis, factor=factor)
        return found

    return basis_at


def _prices_at(model: Any) -> Callable[[int], _Prices]:
    """The prices of a model of the library by time."""

    def prices_at(time_unix_nano: int) -> _Prices:
        # A point covers the time until its own, so its price is that of the instant before it.
        seconds, nanoseconds = divmod(time_unix_nano - 1, NANOSECONDS_PER_SECOND)
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1_000)
        return _library_prices(model.get_prices(at))

    return prices_at


def _library_prices(prices: Any) -> _Prices:
    return _Prices(
        _base_price(prices.input_mtok),
        _base_price(prices.output_mtok),
        _base_price(prices.cache_read_mtok),
        _base_price(prices.cache_write_mtok),
    )


def _base_price(price: Any) -> Decimal | None:
    """The price without its tiers.

    Some prices rise above a number of tokens in one request. The sum of many requests cannot tell
    how many tokens each had.
    """
    base = getattr(price, "base", price)
    return None if base is None else Decimal(base)


def _library_model(library: ModuleType, provider: str, model: str) -> Any:
    """The model of genai-prices with its prices at all times, None if it is unknown."""
    try:
        return library.calc_price(
            library.Usage(input_tokens=1, output_tokens=1), model, provider_id=provider or None
        ).model
    except LookupError:
        return None


@cache
def _library_providers() -> frozenset[str]:
    """The names that genai-prices itself uses."""
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
    return frozenset(provider.id for provider in snapshot.providers)


@cache
def _genai_prices() -> ModuleType | None:
    """The library, imported at first use: it takes 0.1 s, and most receivers see no tokens."""
    try:
        return import_module("genai_prices")
    except ImportError:
        return None  # the extra `llm` is not installed
