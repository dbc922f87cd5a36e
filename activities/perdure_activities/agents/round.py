"""Asking the model of an agent for a round: thread in, prompt, answer, calls read, thread out."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

import structlog
from pydantic import TypeAdapter

from perdure_graph.agents.effects import AskRound, Opening, RoundAnswer
from perdure_graph.agents.memory import PastTurn, past_turn
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.messages import Message
from perdure_store.ledger_records import LedgerAway
from perdure_store.threads import OPENING, Writing

from ..models.remember import most_turns
from ..models.settle import NO_RUN
from .context import AgentSupport
from .model import model_of
from .prompt import Prompt, Round, at_once, prompt, shorter
from .reading import Said, said_in
from .spoken import through

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
    given = Round(effect, opening, thread, await _past(support, effect), model)
    # In a thread where it may be too long: counting takes a while, and so does loading what counts.
    made = at_once(given) or await asyncio.to_thread(_prompt, given, runtime.counters)
    taking = _Taking(support, effect, opening)
    sent = [made]

    def less() -> Iterator[InvokeModel]:
        for each in shorter(given):
            sent.append(each)
            yield each.request

    answer = await runtime.invoke(made.request, attempt, through(effect), taking.also, less())
    made, said = sent[-1], taking.said(answer)
    kept = await taking.keep(said)
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


async def _past(support: AgentSupport, effect: AskRound) -> tuple[PastTurn, ...]:
    """Give past turns of the conversation: all that was said in them where the agent is the whole run."""
    remember, threads, meta = effect.remember, support.threads, effect.meta or NO_RUN
    if remember is None or threads.is_off:
        return ()
    work, _, _ = effect.thread.rpartition("/")
    alone = bool(meta.run_id) and not meta.scope and work.startswith(meta.run_id)
    found = await threads.turns(
        remember.conversation_id,
        remember.before,
        most_turns(remember),
        tenant=meta.tenant if meta.run_id else None,
        part=work.removeprefix(meta.run_id) if alone else None,
    )
    return tuple(
        past_turn(turn.query, turn.answer, [_MESSAGE.validate_python(one) for one in told.messages], told.thread)
        for turn, told in found
    )


class _Taking:
    """What is made of an answer, and put into the store: in one transaction with what accounts for it, if there is one.

    An answer of an earlier attempt is accounted for already.
    """

    def __init__(self, support: AgentSupport, effect: AskRound, opening: Opening) -> None:
        self._support = support
        self._effect = effect
        self._opening = opening
        self._writing: Writing | None = None
        self._read: tuple[ModelAnswer, Said] | None = None

    def said(self, answer: ModelAnswer) -> Said:
        """Read an answer."""
        if self._read is None or self._read[0] is not answer:
            self._read = answer, said_in(answer, self._effect, self._opening, self._support.registry)
        return self._read[1]

    def also(self, answer: ModelAnswer) -> Writing | None:
        """Give what is to be written with an answer."""
        try:
            self._writing = self._prepared(self.said(answer))
        except Exception as error:
            # It is paid for: that it cannot be read is said once that is accounted for.
            _log.warning("an answer could not be read", error=type(error).__name__)
        return self._writing

    async def keep(self, said: Said) -> bool:
        """Put into the store what it does not have yet; whether it has all of it then."""
        threads, effect = self._support.threads, self._effect
        writing = self._writing or self._prepared(said)
        if writing is None:
            return False
        if not writing.done:
            try:
                await threads.carry_out(writing)
            except LedgerAway as away:
                _log.warning("the run keeps the messages of an agent itself", thread=effect.thread, reason=str(away))
                return False
        if writing.there:
            # An attempt whose answer was lost wrote something else: what the run holds is what it goes by.
            _log.warning(
                "a thread holds what its run does not know", thread=effect.thread, places=sorted(writing.there)
            )
        return not writing.there

    def _prepared(self, said: Said) -> Writing | None:
        effect, run_id = self._effect, (self._effect.meta or NO_RUN).run_id
        if self._support.threads.is_off or not run_id:
            return None
        new = enumerate([*effect.fresh, said.message], effect.kept)
        messages = {place: message.model_dump(mode="json") for place, message in new if message is not None}
        opening = None if effect.opening is None else effect.opening.model_dump(mode="json")
        return self._support.threads.writing(effect.thread, run_id, messages, opening)
