"""Answers taken from an equal request: the worker's wrapper finds them (`EffectMeta.cache`), here is what they cost."""

from __future__ import annotations

from decimal import Decimal

from perdure_graph.models.effects import ModelAnswer


def as_cached(answer: ModelAnswer) -> ModelAnswer:
    """Give a kept answer as one that costs nothing and took no time."""
    price = answer.usage.price.model_copy(update={"prompt": Decimal(0), "completion": Decimal(0)})
    usage = answer.usage.model_copy(update={"price": price, "latency": 0.0, "first_delta": 0.0, "cached": True})
    return answer.model_copy(update={"usage": usage, "epoch": 1})
