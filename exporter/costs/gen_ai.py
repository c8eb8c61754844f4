"""What the use of language models costs: tokens times price.

`gen_ai.client.token.usage` is a histogram whose sum is the number of tokens. Prices are those of
the configuration, and behind them those of the library genai-prices, where it is installed (extra
`llm`): it carries its table with it and is asked for nothing that would go over the network.
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

from exporter.costs.fields import Attributes, CostRefusedError, text_of
from exporter.costs.rules import CostRule, FieldSource, cost_basis
from exporter.model import CostBasis, Series

__all__ = ["TOKEN_USAGE_METRIC", "TokenPrice", "TokenPrices"]

TOKEN_USAGE_METRIC: Final = "gen_ai.client.token.usage"  # noqa: S105 - the name of a metric
_HISTOGRAMS: Final = frozenset({"histogram", "exponential_histogram"})
_PROVIDER: Final = ("gen_ai.provider.name", "gen_ai.system")
_MODEL: Final = ("gen_ai.response.model", "gen_ai.request.model")
_TOKENS_A_PRICE: Final = 1_000_000
_NANOSECONDS_PER_SECOND: Final = 1_000_000_000
_RULE: Final = CostRule(
    metric=TOKEN_USAGE_METRIC,
    kind=None,
    category=(FieldSource(constant="ai"),),
    resource_id=tuple(FieldSource(attribute=name) for name in _MODEL),
)


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """What a million tokens of a model cost.

    Attributes:
        model: name, with `*`, `?` and `[...]` as in file names.
        input: of a million tokens that are sent.
        output: of a million tokens that are received.
        provider: pattern likewise.
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
        table: the first that matches counts.
        use_library: whether genai-prices is asked for the rest, where it is installed.
    """

    def __init__(self, table: Iterable[TokenPrice] = (), *, use_library: bool = True) -> None:
        self._table = tuple(table)
        self._use_library = use_library

    def basis(self, series: Series, time_unix_nano: int) -> CostBasis | None:
        """How points of this series become cost entries; None where it counts no tokens.

        Args:
            series: the series.
            time_unix_nano: prices change with time; this is when the series is first seen.

        Raises:
            CostRefusedError: its model has no price, or is not named.
        """
        if series.metric_name != TOKEN_USAGE_METRIC or series.metric_type not in _HISTOGRAMS:
            return None
        attributes: dict[str, Any] = json.loads(series.attributes)
        price, currency = self._price(attributes, time_unix_nano)
        rule = replace(
            _RULE,
            kind="amount" if series.temporality == "delta" else "cumulative",
            currency=(FieldSource(constant=currency),),
        )
        return cost_basis(rule, series, factor=price / _TOKENS_A_PRICE, source="gen_ai")

    def _price(self, attributes: Attributes, time_unix_nano: int) -> tuple[Decimal, str]:
        kind = text_of(attributes.get("gen_ai.token.type"))
        provider, model = _first(attributes, _PROVIDER), _first(attributes, _MODEL)
        if kind not in {"input", "output"}:
            raise CostRefusedError(
                f"gen_ai.token.type is {kind[:20]!r}, and prices are for input and output"
            )
        for name in dict.fromkeys(text_of(attributes.get(name)) for name in _MODEL):
            found = self._listed(kind, provider, name) or self._known(
                kind, provider, name, time_unix_nano
            )
            if found is not None:
                return found
        raise CostRefusedError(
            f"no price is known of the model {model[:100]!r} of {provider[:50]!r}; "
            "add it to llm_prices"
        )

    def _listed(self, kind: str, provider: str, model: str) -> tuple[Decimal, str] | None:
        for price in self._table:
            if model and fnmatchcase(model, price.model) and fnmatchcase(provider, price.provider):
                return (price.input if kind == "input" else price.output), price.currency
        return None

    def _known(
        self, kind: str, provider: str, model: str, time_unix_nano: int
    ) -> tuple[Decimal, str] | None:
        library = _library() if self._use_library and model else None
        if library is None:
            return None
        at = datetime.fromtimestamp(time_unix_nano // _NANOSECONDS_PER_SECOND, UTC)
        try:
            calculation = library.calc_price(
                library.Usage(input_tokens=1, output_tokens=1),
                model,
                provider_id=provider or None,
                genai_request_timestamp=at,
            )
        except LookupError:
            return None
        price = getattr(calculation.model_price, f"{kind}_mtok", None)
        # Above a threshold of tokens in one request some cost more; a sum of many cannot tell.
        base = getattr(price, "base", price)
        return None if base is None else (Decimal(base), "USD")


@cache
def _library() -> ModuleType | None:
    """Not before it is needed: it takes a tenth of a second, and most receivers never do."""
    try:
        return import_module("genai_prices")
    except ImportError:
        return None  # the extra `llm` is not installed


def _first(attributes: Attributes, names: Iterable[str]) -> str:
    return next((text for name in names if (text := text_of(attributes.get(name)))), "")
