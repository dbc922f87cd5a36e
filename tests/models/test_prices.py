"""Prices: whose they are, how they are counted and rounded."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_activities.models.config import ModelsConfig
from perdure_activities.models.declared.load import Catalog
from perdure_activities.models.declared.schema import Pricing
from perdure_activities.models.prices import PriceBook
from perdure_graph.models.usage import Price, Tokens, Usage
from perdure_store.ledger_records import nanos

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CATALOG = Catalog.load(installed=False)
BOOK = PriceBook({}, CATALOG)


def book(**prices: dict[str, Any]) -> PriceBook:
    return PriceBook({name: Pricing.model_validate(price) for name, price in prices.items()}, CATALOG)


DECLARED = [
    (provider.provider, model.model)
    for provider in (CATALOG.provider("openai"), CATALOG.provider("anthropic"))
    for model in provider.models
    if model.pricing
]


@pytest.mark.parametrize(("provider", "model"), DECLARED)
def test_declared_prices_are_those_of_genai_prices(provider: str, model: str) -> None:
    """An independent opinion on our arithmetic, tiers and dates, for the very prices that are shipped."""
    import genai_prices

    usages = [(1000, 500, 0, 0), (90_000, 10, 50_000, 1000), (150_000, 7, 0, 20), (300_000, 4000, 100_000, 0)]
    for prompt, completion, read, written in usages:
        for at in (NOW, datetime(2026, 7, 1, tzinfo=UTC)):
            usage = genai_prices.Usage(
                input_tokens=prompt, output_tokens=completion, cache_read_tokens=read, cache_write_tokens=written
            )
            theirs = genai_prices.calc_price(usage, model, provider_id=provider, genai_request_timestamp=at)
            tokens = Tokens(prompt=prompt, completion=completion, cache_read=read, cache_write=written)
            ours = BOOK.price(provider, model, tokens, at)
            assert ours.source == "declared"
            assert ours.version == "genai-prices 0.2.3"
            assert abs(ours.total - theirs.total_price) <= Decimal("0.0000002"), (prompt, at)


def test_whose_price_it_is() -> None:
    tokens = Tokens(prompt=1_000_000, completion=1_000_000)
    declared = BOOK.price("langgenius/openai/openai", "gpt-4o", tokens, NOW)
    assert (declared.source, declared.total, declared.currency) == ("declared", Decimal("12.5"), "USD")
    override = book(**{"openai/gpt-4o": {"input": "1", "output": "2", "currency": "EUR"}})
    mine = override.price("langgenius/openai/openai", "gpt-4o", tokens, NOW)
    assert (mine.source, mine.total, mine.currency) == ("override", Decimal(3), "EUR")
    assert mine.version
    assert override.price("openai", "gpt-4o-mini", tokens, NOW).source == "declared"
    elsewhere = BOOK.price("openai", "o1", tokens, NOW)
    assert (elsewhere.source, elsewhere.total) == ("genai-prices", Decimal(75))
    assert elsewhere.version == version("genai-prices")
    assert BOOK.price("ollama", "gpt-4o", tokens, NOW) == Price()
    assert BOOK.price("nobody", "gpt-4o", tokens, NOW).source == "unpriced"
    assert BOOK.price("demo", "demo", tokens, NOW).source == "declared"
    assert BOOK.most("ollama", "gpt-4o", 1000, 1000, NOW) == 0


def test_an_exact_name_goes_before_a_glob() -> None:
    prices = book(**{"openai/*": {"input": "1"}, "openai/gpt-4o": {"input": "5"}})
    million = Tokens(prompt=1_000_000)
    assert prices.price("openai", "gpt-4o", million, NOW).total == 5
    assert prices.price("openai", "gpt-6-sol", million, NOW).total == 1


def test_cache_and_reasoning_have_prices_of_their_own() -> None:
    prices = book(
        **{"demo/m": {"input": "10", "output": "20", "cache_read": "1", "cache_write": "12.5", "reasoning": "40"}}
    )
    tokens = Tokens(prompt=100, cache_read=50, cache_write=20, completion=30, reasoning=10)
    price = prices.price("demo", "m", tokens, NOW)
    assert price.prompt == Decimal("0.00060") == (30 * 10 + 50 * 1 + 20 * Decimal("12.5")) / Decimal(1_000_000)
    assert price.completion == Decimal("0.0008")
    assert (price.prompt_unit, price.completion_unit) == (Decimal("0.00001"), Decimal("0.00002"))
    without = book(**{"demo/m": {"input": "10", "output": "20"}}).price("demo", "m", tokens, NOW)
    assert (without.prompt, without.completion) == (Decimal("0.001"), Decimal("0.0006"))


def test_a_tier_holds_for_the_whole_call_once_it_is_passed() -> None:
    prices = book(
        **{"demo/m": {"input": "1", "output": "2", "tiers": [{"above_tokens": 1000, "input": "3", "output": "4"}]}}
    )
    assert prices.price("demo", "m", Tokens(prompt=1000, completion=1), NOW).prompt == Decimal("0.001")
    above = prices.price("demo", "m", Tokens(prompt=1001, completion=1), NOW)
    assert (above.prompt, above.completion) == (Decimal("0.003003"), Decimal("0.000004"))


def test_a_price_begins_on_its_day() -> None:
    luna = [
        BOOK.price("openai", "gpt-5.6-luna", Tokens(prompt=100_000), at).total
        for at in (datetime(2026, 7, 29, 23, 59, tzinfo=UTC), datetime(2026, 7, 30, tzinfo=UTC))
    ]
    assert luna == [Decimal("0.1"), Decimal("0.02")]


def test_dify_sees_prices_half_up_to_seven_digits() -> None:
    prices = book(**{"demo/m": {"input": "0.15", "output": "0.05"}})
    usage = Usage(
        tokens=Tokens(prompt=1, completion=1), price=prices.price("demo", "m", Tokens(prompt=1, completion=1), NOW)
    )
    shown = usage.as_dify()
    assert (shown["prompt_price"], shown["completion_price"], shown["total_price"]) == (
        "0.0000002",
        "0.0000001",
        "0.0000003",
    )
    assert (shown["prompt_unit_price"], shown["currency"]) == ("0.00000015", "USD")


def test_a_configuration_prices_per_million() -> None:
    config = ModelsConfig.model_validate({"prices": {"openai/gpt-4o": {"input": 0.1, "output": 0.3}}})
    price = PriceBook(config.prices, CATALOG).price("openai", "gpt-4o", Tokens(prompt=10, completion=10), NOW)
    assert price.total == Decimal("0.000004")


@given(
    st.sampled_from(DECLARED),
    st.integers(0, 400_000),
    st.integers(0, 50_000),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_no_call_costs_more_than_was_reserved_for_it(
    which: tuple[str, str], prompt: int, completion: int, used: float, read: float, written: float, thought: float
) -> None:
    provider, model = which
    most = BOOK.most(provider, model, prompt, completion, NOW)
    real, said = int(prompt * used), int(completion * used)
    tokens = Tokens(
        prompt=real,
        completion=said,
        cache_read=int(real * read),
        cache_write=int((real - int(real * read)) * written),
        reasoning=int(said * thought),
    )
    assert nanos(BOOK.price(provider, model, tokens, NOW).total) <= most
