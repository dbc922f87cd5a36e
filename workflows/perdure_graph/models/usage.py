"""What a call of a model used and cost. Tokens are counts, money is a decimal in `currency`, times are seconds."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, ConfigDict


class Tokens(BaseModel):
    """Tokens of one call.

    prompt: all of the prompt; `cache_read` and `cache_write` are parts of it.
    completion: all that was generated; `reasoning` is a part of it.
    estimated: whether the provider did not say, so that we counted.
    """

    model_config = ConfigDict(frozen=True)

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    estimated: bool = False

    @property
    def total(self) -> int:
        """Prompt and completion."""
        return self.prompt + self.completion

    def plus(self, other: Tokens) -> Tokens:
        """Add those of another call."""
        return Tokens(
            prompt=self.prompt + other.prompt,
            completion=self.completion + other.completion,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            reasoning=self.reasoning + other.reasoning,
            estimated=self.estimated or other.estimated,
        )


class Price(BaseModel):
    """What tokens cost.

    source: where the prices are from (`override`, `declared`, `genai-prices`, `unpriced`), with `version`.
    prompt_unit, completion_unit: price of one token.
    """

    model_config = ConfigDict(frozen=True)

    prompt: Decimal = Decimal(0)
    completion: Decimal = Decimal(0)
    prompt_unit: Decimal = Decimal(0)
    completion_unit: Decimal = Decimal(0)
    currency: str = "USD"
    source: str = "unpriced"
    version: str = ""

    @property
    def total(self) -> Decimal:
        """Prompt and completion."""
        return self.prompt + self.completion


class Usage(BaseModel):
    """Tokens, price and times of an answer. A call that was cached costs nothing."""

    model_config = ConfigDict(frozen=True)

    tokens: Tokens = Tokens()
    price: Price = Price()
    latency: float = 0.0
    first_delta: float = 0.0
    cached: bool = False

    def plus(self, other: Usage) -> Usage:
        """Add that of a later call: prices of a token, currency and the time of the first token are the later one's."""
        return Usage(
            tokens=self.tokens.plus(other.tokens),
            price=other.price.model_copy(
                update={
                    "prompt": self.price.prompt + other.price.prompt,
                    "completion": self.price.completion + other.price.completion,
                }
            ),
            latency=self.latency + other.latency,
            first_delta=other.first_delta,
            cached=other.cached,
        )

    def as_dify(self) -> dict[str, object]:
        """Give the object that Dify's nodes put out as `usage`."""
        tokens, price = self.tokens, self.price
        return {
            "prompt_tokens": tokens.prompt,
            "prompt_unit_price": _plain(price.prompt_unit),
            "prompt_price_unit": "1",
            "prompt_price": _plain(price.prompt),
            "completion_tokens": tokens.completion,
            "completion_unit_price": _plain(price.completion_unit),
            "completion_price_unit": "1",
            "completion_price": _plain(price.completion),
            "total_tokens": tokens.total,
            "total_price": _plain(price.total),
            "currency": price.currency,
            "latency": round(self.latency, 3),
            "time_to_first_token": round(self.first_delta, 3),
            "time_to_generate": round(max(0.0, self.latency - self.first_delta), 3),
        }


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")
