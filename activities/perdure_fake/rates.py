"""Rate limits: token buckets per API key, and the headers that tell of them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .errors import Problem
from .script import Rates

Headers = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Bucket:
    per_min: float
    level: float
    at: float

    def refill(self, now: float) -> None:
        self.level = min(self.per_min, self.level + (now - self.at) * self.per_min / 60)
        self.at = now

    def seconds_until(self, level: float) -> float:
        """How long until so much is in it; never more than it holds."""
        return max(0.0, (min(level, self.per_min) - self.level) * 60 / self.per_min)


@dataclass(slots=True)
class _Key:
    requests: _Bucket | None
    tokens: _Bucket | None
    active: int = 0


@dataclass(slots=True)
class Limiter:
    """What each key has left. A call takes the tokens of its prompt and of its answer when it is let in."""

    rates: Rates
    keys: dict[str, _Key] = field(default_factory=dict[str, _Key])

    def key(self, name: str, now: float) -> _Key:
        """Give what a key has left, refilled."""
        known = self.keys.get(name)
        if known is None:
            made = [_Bucket(rate, rate, now) if rate else None for rate in (self._requests, self._tokens)]
            known = self.keys[name] = _Key(made[0], made[1])
        for bucket in (known.requests, known.tokens):
            if bucket is not None:
                bucket.refill(now)
        return known

    @property
    def _requests(self) -> float | None:
        return self.rates.requests_per_min

    @property
    def _tokens(self) -> float | None:
        return self.rates.tokens_per_min

    def admit(self, name: str, prompt: int, completion: int, now: float, *, anthropic: bool) -> Problem | None:
        """Let a call in, or say why not."""
        key = self.key(name, now)
        requests = key.requests.seconds_until(1) if key.requests else 0.0
        tokens = key.tokens.seconds_until(prompt) if key.tokens else 0.0
        crowded = self.rates.concurrent is not None and key.active >= self.rates.concurrent
        if requests or tokens or crowded:
            what = "requests" if requests >= tokens and requests else "tokens" if tokens else "concurrent requests"
            wait = max(requests, tokens) or 1.0
            headers = (("retry-after", str(max(1, math.ceil(wait)))), ("retry-after-ms", f"{wait * 1000:.0f}"))
            own = headers[:1] if anthropic else headers
            message = f"Rate limit reached: too many {what}. Please try again in {wait:.3f}s."
            kind = None if anthropic else "tokens" if what == "tokens" else "requests"
            return Problem(429, message, code="rate_limit_exceeded", type=kind, headers=own)
        if key.requests:
            key.requests.level -= 1
        if key.tokens:
            key.tokens.level -= prompt + completion
        return None

    def headers(self, name: str, now: float, *, anthropic: bool) -> Headers:
        """Tell what a key has left."""
        key = self.key(name, now)
        made: list[tuple[str, str]] = []
        for word, bucket in (("requests", key.requests), ("tokens", key.tokens)):
            if bucket is None:
                continue
            left, full = str(max(0, int(bucket.level))), bucket.seconds_until(bucket.per_min)
            if anthropic:
                at = datetime.now(UTC) + timedelta(seconds=full)
                stem = f"anthropic-ratelimit-{word}"
                made += [(f"{stem}-limit", f"{bucket.per_min:.0f}"), (f"{stem}-remaining", left)]
                made.append((f"{stem}-reset", at.strftime("%Y-%m-%dT%H:%M:%SZ")))
            else:
                made += [(f"x-ratelimit-limit-{word}", f"{bucket.per_min:.0f}")]
                made += [(f"x-ratelimit-remaining-{word}", left), (f"x-ratelimit-reset-{word}", _span(full))]
        return tuple(made)


def _span(seconds: float) -> str:
    """Write a time as OpenAI does: `120ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{minutes:.0f}m{rest:g}s" if minutes else f"{rest:g}s"
