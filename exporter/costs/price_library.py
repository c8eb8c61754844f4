"""Prices of language models from the library genai-prices, which makes no network request.

The library is optional (extra `llm`). Without it no model has a price here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any, Final, NamedTuple

from exporter.time_units import NANOSECONDS_PER_SECOND

_CURRENCY: Final = "USD"


class Prices(NamedTuple):
    """The prices of a million tokens; None if unknown."""

    input: Decimal | None = None
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None


class Quote(NamedTuple):
    """The prices of a model.

    Attributes:
        currency: ISO 4217 code.
        prices: if they are fixed.
        at: the prices at a time in nanoseconds; None if they are fixed.
    """

    currency: str
    prices: Prices
    at: Callable[[int], Prices] | None = None


def library_quote(provider: str, model: str) -> Quote | None:
    """The prices of a model.

    Args:
        provider: name as OpenTelemetry or the library spells it, "" if unknown.
        model: name as the provider spells it.

    Returns:
        None if the library is not installed or does not know the model.
    """
    library = _library()
    if library is None:
        return None
    found = _model(library, provider, model)
    # The library finds a provider by a part of its name. Some names of OpenTelemetry are unknown to
    # it: gcp.gen_ai, x_ai, azure.ai.inference. Without a provider it finds the one that makes the
    # model.
    if found is None and provider and provider not in _providers():
        found = _model(library, "", model)
    if found is None:
        return None
    if isinstance(found.prices, list):
        return Quote(_CURRENCY, Prices(), _prices_at(found))
    return Quote(_CURRENCY, _prices(found.prices))


def _prices_at(model: Any) -> Callable[[int], Prices]:
    """The prices of a model of the library by time."""

    def prices_at(time_unix_nano: int) -> Prices:
        # A point covers the time until its own, so its price is that of the instant before it.
        seconds, nanoseconds = divmod(time_unix_nano - 1, NANOSECONDS_PER_SECOND)
        at = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1_000)
        return _prices(model.get_prices(at))

    return prices_at


def _prices(prices: Any) -> Prices:
    return Prices(
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


def _model(library: ModuleType, provider: str, model: str) -> Any:
    """The model of genai-prices with its prices at all times, None if it is unknown."""
    try:
        return library.calc_price(
            library.Usage(input_tokens=1, output_tokens=1), model, provider_id=provider or None
        ).model
    except LookupError:
        return None


@cache
def _providers() -> frozenset[str]:
    """The names that genai-prices itself uses."""
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
    return frozenset(provider.id for provider in snapshot.providers)


@cache
def _library() -> ModuleType | None:
    """The library, imported at first use: it takes 0.1 s, and most receivers see no tokens."""
    try:
        return import_module("genai_prices")
    except ImportError:
        return None  # the extra `llm` is not installed
