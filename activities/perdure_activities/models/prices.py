"""What tokens cost: the operator's price, the declared one, that of genai-prices, or none, and which of them it was."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast

from perdure_graph.models.usage import Price, Tokens
from perdure_store.ledger_records import nanos

from .declared.load import Catalog, UnknownModel
from .declared.problems import UnknownProvider
from .declared.schema import Pricing, Rates, Tier
from .recent import MOST

_DIGITS = Decimal("0.0000001")
# Large enough that no sum of tokens is rounded on the way to its seven digits.
_EXACT = Context(prec=60)
_PARTS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A price as it is listed, and where."""

    pricing: Pricing
    source: str
    version: str


class PriceBook:
    """Finds prices. overrides: the operator's, by `provider/model` or a glob; an exact name goes before globs."""

    def __init__(self, overrides: Mapping[str, Pricing], catalog: Catalog) -> None:
        self._overrides = dict(overrides)
        self._catalog = catalog
        self._elsewhere = functools.lru_cache(maxsize=MOST)(_genai_prices)

    def price(self, provider: str, model: str, tokens: Tokens, at: datetime) -> Price:
        """Say what tokens cost at a time; zero from the source `unpriced` when nobody knows."""
        listed = self.listed(provider, model, at)
        if listed is None:
            return Price()
        pricing = listed.pricing
        rates = pricing.rates(tokens.prompt)
        prompt, completion = _costs(rates, tokens)
        return Price(
            prompt=_rounded(prompt, pricing.unit),
            completion=_rounded(completion, pricing.unit),
            prompt_unit=_EXACT.multiply(rates.input, pricing.unit),
            completion_unit=_EXACT.multiply(rates.output, pricing.unit),
            currency=pricing.currency,
            source=listed.source,
            version=listed.version,
        )

    def most(self, provider: str, model: str, prompt: int, completion: int, at: datetime) -> int:
        """Give, in nanos, what a call of at most so many tokens can cost, however its prompt is cached."""
        listed = self.listed(provider, model, at)
        if listed is None:
            return 0
        pricing = listed.pricing
        # A smaller prompt may be in a cheaper tier, or in a dearer one.
        reachable = [pricing, *(tier for tier in pricing.tiers if prompt > tier.above_tokens)]
        dearest = max(
            _rounded(_EXACT.multiply(Decimal(prompt), _dearest_input(rates)), pricing.unit)
            + _rounded(_EXACT.multiply(Decimal(completion), _dearest_output(rates)), pricing.unit)
            for rates in reachable
        )
        return nanos(dearest)

    def currency(self, provider: str, model: str, at: datetime) -> str:
        """Give the currency of a model's price, USD when it has none."""
        listed = self.listed(provider, model, at)
        return listed.pricing.currency if listed is not None else "USD"

    def listed(self, provider: str, model: str, at: datetime) -> Listed | None:
        """Find the price of a model at a time."""
        provider = self._catalog.id_of(provider)
        if (override := self._override(f"{provider}/{model}")) is not None:
            digest = hashlib.sha256(override.model_dump_json().encode()).hexdigest()[:12]
            return Listed(override, "override", override.version or digest)
        day = at.astimezone(UTC).date()
        if (pricing := self._declared(provider, model, at)) is not None:
            return Listed(pricing, "declared", " ".join(part for part in (pricing.source, pricing.version) if part))
        found = self._elsewhere(provider, model)
        begun = [pricing for pricing in found if pricing.valid_from is None or pricing.valid_from <= day]
        if not found:
            return None
        return Listed((begun or found)[-1 if begun else 0], "genai-prices", _version())

    def _override(self, name: str) -> Pricing | None:
        if name in self._overrides:
            return self._overrides[name]
        return next((pricing for glob, pricing in self._overrides.items() if fnmatchcase(name, glob)), None)

    def _declared(self, provider: str, model: str, at: datetime) -> Pricing | None:
        for kind in ("llm", "text-embedding", "rerank"):
            try:
                found = self._catalog.model(provider, model, kind)
            except (UnknownModel, UnknownProvider):
                continue
            if (pricing := found.price_at(at.astimezone(UTC).date())) is not None:
                return pricing
        return None


def _costs(rates: Rates, tokens: Tokens) -> tuple[Decimal, Decimal]:
    """What prompt and completion cost, before the unit is applied."""
    read = min(max(0, tokens.cache_read), tokens.prompt)
    written = min(max(0, tokens.cache_write), tokens.prompt - read)
    thought = min(max(0, tokens.reasoning), tokens.completion)
    prompt = _sum(
        (tokens.prompt - read - written, rates.input),
        (read, rates.cache_read),
        (written, rates.cache_write),
        otherwise=rates.input,
    )
    completion = _sum((tokens.completion - thought, rates.output), (thought, rates.reasoning), otherwise=rates.output)
    return prompt, completion


def _sum(*parts: tuple[int, Decimal | None], otherwise: Decimal) -> Decimal:
    total = Decimal(0)
    for count, rate in parts:
        total = _EXACT.add(total, _EXACT.multiply(Decimal(max(0, count)), otherwise if rate is None else rate))
    return total


def _dearest_input(rates: Rates) -> Decimal:
    return max(rate for rate in (rates.input, rates.cache_read, rates.cache_write) if rate is not None)


def _dearest_output(rates: Rates) -> Decimal:
    return max(rate for rate in (rates.output, rates.reasoning) if rate is not None)


def _rounded(cost: Decimal, unit: Decimal) -> Decimal:
    return _EXACT.multiply(cost, unit).quantize(_DIGITS, ROUND_HALF_UP, _EXACT)


def _version() -> str:
    try:
        return version("genai-prices")
    except PackageNotFoundError:
        return ""


def _genai_prices(provider: str, model: str) -> tuple[Pricing, ...]:
    """Look a model up in genai-prices, oldest price first; nothing where it is not installed or does not know."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return ()
    listed = next((one for one in get_snapshot().providers if one.id == provider), None)
    found = listed.find_model(model) if listed is not None else None
    if found is None:
        return ()
    if not isinstance(found.prices, list):
        return _pricing(found.prices, None)
    begins = [getattr(one.constraint, "start_date", None) for one in found.prices]
    return tuple(
        pricing for one, begin in zip(found.prices, begins, strict=True) for pricing in _pricing(one.prices, begin)
    )


def _pricing(prices: Any, begin: Any) -> tuple[Pricing, ...]:
    """Take over a price per million tokens; one without a price for input is for something else than text."""
    base: dict[str, Any] = {}
    tiers: dict[int, dict[str, Any]] = {}
    for ours, theirs in _PARTS.items():
        value = getattr(prices, theirs, None)
        for tier in getattr(value, "tiers", ()):
            tiers.setdefault(tier.start, {})[ours] = tier.price
        if value is not None:
            base[ours] = getattr(value, "base", value)
    if "input" not in base:
        return ()
    above = tuple(Tier.model_validate({**base, **cast("Any", tier), "above_tokens": at}) for at, tier in tiers.items())
    return (Pricing.model_validate({**base, "tiers": above, "valid_from": begin, "source": "genai-prices"}),)
