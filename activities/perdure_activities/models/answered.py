"""From what a provider said to the answer of the effect, and what it used. Pure but for counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

from perdure_graph.models.effects import ModelAnswer
from perdure_graph.models.usage import Tokens, Usage

if TYPE_CHECKING:
    from .call import Listening
    from .prepare import Asked
    from .settle import Spent, Try
    from .stream.accumulate import Accumulated
    from .thinking import Shown


async def used(told: Tokens | None, listening: Listening, asked: Asked, *, whole: bool = True) -> Tokens:
    """Say what a call used: as the provider says, else counted; of an answer that broke off, the more of the two.

    What is counted is never more than the call allowed, so that a guess does not pass a budget.
    """
    # A prompt of no tokens is what servers say that do not count; so much is known of nothing else they say.
    if whole and told is not None and told.prompt > 0:
        return told
    written = await asked.written(listening.written)
    if asked.call.max_tokens is not None:
        written = min(written, asked.call.max_tokens)
    if told is None or told.prompt == 0:
        return Tokens(prompt=await asked.prompt(), completion=written, estimated=True)
    return told.model_copy(update={"completion": max(told.completion, written), "estimated": True})


def answer_of(
    call: Try, said: Accumulated, shown: Shown, spent: Spent, structured: dict[str, JsonValue] | None, remembered: int
) -> ModelAnswer:
    """Make the answer. A refusal stands in for the text where there is none, so that a reader sees why."""
    return ModelAnswer(
        text=shown.text or said.refusal or "",
        reasoning=shown.reasoning,
        tool_calls=said.tool_calls,
        structured=structured,
        message=said.message,
        finish=said.finish,
        refusal=said.refusal,
        usage=Usage(
            tokens=spent.tokens,
            price=spent.price,
            latency=spent.latency,
            first_delta=spent.latency if spent.first_delta is None else spent.first_delta,
        ),
        provider=call.target.provider,
        model=call.target.model,
        deployment=call.deployment,
        epoch=call.attempt,
        remembered=remembered,
        simulated=said.simulated,
    )
