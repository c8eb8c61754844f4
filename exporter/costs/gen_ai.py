"""What the use of language models costs: the number of tokens times their price.

`gen_ai.client.token.usage` is a histogram whose sum is a number of tokens. Prices come from the
configuration, and otherwise from the library genai-prices, which works without the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from exporter.costs.entry_fields import Attributes, CostRefusedError, attribute_text, first_text
from exporter.costs.rules import CostChain, CostRule, FieldSource, cost_chain
from exporter.model import Series
from exporter.time_units import NANOSECONDS_PER_SECOND

TOKEN_USAGE_METRIC: Final = "gen_ai.client.token.usage"  # noqa: S105 - the name of a metric
_HISTOGRAM_TYPES: Final = frozenset({"histogram", "exponential_histogram"})
_PROVIDER_ATTRIBUTES: Final = ("gen_ai.provider.name", "gen_ai.system")
_MODEL_ATTRIBUTES: Final = ("gen_ai.response.model", "gen_ai.request.model")
_TOKENS_PER_PRICE: Final = 1_000_000
_RULE: Final = CostRule(
    metric=TOKEN_USAGE_METRIC,
    kind=None,
    category=(FieldSource(constant="ai"),),
    resource_id=tuple(FieldSource(attribute=name) for name in _MODEL_ATTRIBUTES),
)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """The price of a million tokens of a model.

    Attributes:
        model: name, with `*`, `?` and `[...]` as in file names.
        input: price of a million tokens that are sent.
        output: price of a million tokens that are received.
        provider: name, with the same patterns as `model`.
        currency: ISO 4217 code.
    """

    model: str
    input: Decimal
    output: Decimal
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

    def chain(self, series: Series, time_unix_nano: int) -> CostChain | None:
        """How points of this series become cost entries; None if it counts no tokens.

        Args:
            series: the series.
            time_unix_nano: when the series was first seen, because prices change with time.

        Raises:
            CostRefusedError: the model has no price, or the series names no model.
        """
        if series.metric_name != TOKEN_USAGE_METRIC or series.metric_type not in _HISTOGRAM_TYPES:
            return None
        attributes: dict[str, Any] = json.loads(series.attributes)
        price, currency = self._price(attributes, time_unix_nano)
        rule = replace(
            _RULE,
            kind="amount" if series.temporality == "delta" else "cumulative",
            currency=(FieldSource(constant=currency),),
        )
        return cost_chain(rule, series, factor=price / _TOKENS_PER_PRICE, source="gen_ai")

    def _price(self, attributes: Attributes, time_unix_nano: int) -> tuple[Decimal, str]:
        """The price of a million tokens and its currency."""
        direction = attribute_text(attributes.get("gen_ai.token.type"))
        provider = first_text(attributes, _PROVIDER_ATTRIBUTES)
        if direction not in {"input", "output"}:
            raise CostRefusedError(
                f"gen_ai.token.type is {direction[:20]!r}, and prices are for input and output"
            )
        # The name in the response often has a date added. Without a price for it, the name in the
        # request decides.
        for name in _MODEL_ATTRIBUTES:
            model = attribute_text(attributes.get(name))
            if not model:
                continue
            found = self._table_price(direction, provider, model)
            found = found or self._library_price(direction, provider, model, time_unix_nano)
            if found is not None:
                return found
        model = first_text(attributes, _MODEL_ATTRIBUTES)
        raise CostRefusedError(
            f"no price is known of the model {model[:100]!r} of {provider[:50]!r}; "
            "add it to llm_prices"
        )

    def _table_price(self, direction: str, provider: str, model: str) -> tuple[Decimal, str] | None:
        for price in self._table:
            if fnmatchcase(model, price.model) and fnmatchcase(provider, price.provider):
                return (price.input if direction == "input" else price.output), price.currency
        return None

    def _library_price(
        self, direction: str, provider: str, model: str, time_unix_nano: int
    ) -> tuple[Decimal, str] | None:
        library = _genai_prices() if self._use_library else None
        if library is None:
            return None
        try:
            calculation = library.calc_price(
                library.Usage(input_tokens=1, output_tokens=1),
                model,
                provider_id=provider or None,
                genai_request_timestamp=datetime.fromtimestamp(
                    time_unix_nano // NANOSECONDS_PER_SECOND, UTC
                ),
            )
        except LookupError:
            return None
        price = getattr(calculation.model_price, f"{direction}_mtok", None)
        # Some prices rise above a number of tokens in one request. The sum of many requests cannot
        # tell how many tokens each had, so the base price is taken.
        base = getattr(price, "base", price)
        return None if base is None else (Decimal(base), "USD")


@cache
def _genai_prices() -> ModuleType | None:
    """The library, imported at first use: it takes 0.1 s, and most receivers see no tokens."""
    try:
        return import_module("genai_prices")
    except ImportError:
        return None  # the extra `llm` is not installed
