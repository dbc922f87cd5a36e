"""Asking the model of an agent for a round: thread in, prompt, answer, calls read, thread out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from pydantic import TypeAdapter

from perdure_graph.agents.effects import AskRound, Opening, RoundAnswer
from perdure_graph.models.messages import Message
from perdure_store.ledger_records import LedgerAway
from perdure_store.threads import OPENING

from ..models.remember import Turn, most_turns
from ..models.settle import NO_RUN
from .context import AgentSupport
from .model import model_of
from .prompt import Prompt, Round, prompt
from .reading import Said, said_in
from .spoken import Spoken

if TYPE_CHECKING:
    from ..models.tokens import Counters

_log = structlog.stdlib.get_logger("perdure.agents")

_MESSAGE: TypeAdapter[Message] = TypeAdapter(Message)


async def asked(support: AgentSupport, effect: AskRound, attempt: int) -> RoundAnswer:
    """Ask for one round. attempt: from 1; a later one finds what an earlier one has paid for, and says the same.

    Raises:
        ModelFault: there is no answer.
        PlatformError: the store is away or has lost messages that only it has.
    """
    runtime = support.models
    opening, thread = await _before(support, effect)
    model = model_of(runtime, effect.model)
    given = Round(effect, opening, thread, await _turns(support, effect), model)
    # In a thread: counting a long prompt takes a while, and so does loading what counts.
    made = await asyncio.to_thread(_prompt, given, runtime.counters)
    answer = await runtime.invoke(made.request, attempt, Spoken if effect.strategy == "react" else None)
    said = said_in(answer, effect, opening, support.registry)
    kept = await _keep(support, effect, said)
    return RoundAnswer(
        text=said.text,
        reasoning=answer.reasoning,
        units=said.units,
        calls=said.calls,
        finish=answer.finish,
        refusal=answer.refusal,
        message=None if kept else said.message,
        kept=kept,
        dropped=made.dropped,
        shortened=made.shortened,
        full=made.full,
        usage=answer.usage,
        provider=answer.provider,
        model=answer.model,
        deployment=answer.deployment,
        epoch=answer.epoch,
        simulated=answer.simulated,
    )


def _prompt(given: Round, counters: Counters) -> Prompt:
    target = given.model.target
    return prompt(given, lambda: counters.counter_for(target.provider, target.model))


async def _before(support: AgentSupport, effect: AskRound) -> tuple[Opening, list[Message]]:
    """Give the opening, and the thread so far: what the run holds, the rest from the store."""
    held = {effect.kept + index: message for index, message in enumerate(effect.fresh) if message is not None}
    places = range(effect.kept + len(effect.fresh))
    wanted = [place for place in places if place not in held]
    # Where the run holds everything, the store may be away.
    found = await support.threads.pick(effect.thread, wanted if effect.opening is not None else [OPENING, *wanted])
    opening = effect.opening if effect.opening is not None else Opening.model_validate(found[OPENING])
    return opening, [held[at] if at in held else _MESSAGE.validate_python(found[at]) for at in places]


async def _turns(support: AgentSupport, effect: AskRound) -> tuple[Turn, ...]:
    """Give past turns of the conversation."""
    remember, ledger, meta = effect.remember, support.models.ledger, effect.meta or NO_RUN
    if remember is None or ledger.is_off:
        return ()
    tenant = meta.tenant if meta.run_id else None
    return tuple(await ledger.turns(remember.conversation_id, remember.before, most_turns(remember), tenant=tenant))


async def _keep(support: AgentSupport, effect: AskRound, said: Said) -> bool:
    """Put into the store what it does not have yet; whether it has all of it then."""
    run_id = (effect.meta or NO_RUN).run_id
    if support.threads.is_off or not run_id:
        return False
    new = [*effect.fresh, said.message]
    messages = {
        effect.kept + index: message.model_dump(mode="json") for index, message in enumerate(new) if message is not None
    }
    opening = None if effect.opening is None else effect.opening.model_dump(mode="json")
    try:
        there = await support.threads.write(effect.thread, run_id, messages, opening)
    except LedgerAway as away:
        _log.warning("the run keeps the messages of an agent itself", thread=effect.thread, reason=str(away))
        return False
    if there:
        # An attempt whose answer was lost wrote something else: what the run holds is what it goes by.
        _log.warning("a thread holds what its run does not know", thread=effect.thread, places=sorted(there))
    return not there
