"""Ask one deployment: let in by limits and budgets, called, listened to, and accounted for, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from pydantic import JsonValue

from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.faults import FaultKind
from perdure_graph.models.usage import Tokens
from perdure_store.ledger_records import Also, Settlement, nanos
from perdure_store.recorder import now_ms

from . import structured
from .admitting import Admittance, Admitting
from .answered import answer_of, used
from .call import Listening, Through
from .deltas import DeltaSink
from .failover import LocatedFault, Plan
from .prepare import Preparing, droppable, is_lasting
from .protocol import Endpoint, ModelCall, ModelFault
from .remember import Turn
from .route import Candidate
from .settle import NO_RUN, Spent, settle, unbroken, usage_row
from .thinking import Shown

if TYPE_CHECKING:
    from .runtime import Runtime
    from .stream.accumulate import Accumulated

_log = structlog.stdlib.get_logger("perdure.models")

# A request that was refused as if by accident is sent again at once.
_REPEATED = frozenset({408, 409})


class Calling:
    """The calls of one attempt at an effect.

    turns: what was said before in the conversation.
    through: what the text goes through on its way to readers; made anew for each call.
    also: gives what is written in the transaction that accounts for an answer.
    shorter: gives what is asked in place of a prompt that is too long for its model.
    deployment: the one that was asked last. given_out: whether a reader may have seen text of this attempt.
    """

    def __init__(
        self,
        runtime: Runtime,
        effect: InvokeModel,
        attempt: int,
        through: Callable[[], Through] | None = None,
        also: Callable[[ModelAnswer], Also | None] | None = None,
        shorter: Iterator[InvokeModel] | None = None,
    ) -> None:
        self.turns: tuple[Turn, ...] = ()
        self.deployment = ""
        self.given_out = False
        self._runtime = runtime
        self._effect = effect
        self._attempt = attempt
        self._meta = effect.meta or NO_RUN
        self._admitting = Admitting(runtime, effect, attempt)
        self._sent: ModelCall | None = None
        self._sink = DeltaSink(runtime.ledger, effect, attempt) if effect.stream is not None else None
        self._preparing = Preparing(effect, runtime.files)
        self._through = through
        self._also = also
        self._shorter = shorter or iter(())

    async def ask(self, one: Candidate, plan: Plan) -> ModelAnswer:
        """Ask a deployment; what its server does not take is left out from then on.

        Raises:
            NotNow: it is at its limits.
            AlreadyPaid: the effect has an answer.
            LocatedFault: it does not answer.
        """
        self.deployment = one.name
        learned = self._runtime.learned(one.name, one.model)
        once: set[str] = set()
        repeated = False
        while True:
            # As it is now: what calls beside this one learn meanwhile was not left out of this request.
            left_out = frozenset(learned | once)
            try:
                return await self._once(one, left_out, plan)
            except LocatedFault:
                raise
            except ModelFault as fault:
                name = droppable(fault, self._sent) if self._sent is not None else None
                if self.given_out:
                    pass
                elif name is not None and name not in left_out:
                    (learned if is_lasting(fault) else once).add(name)
                    continue
                elif fault.kind == "context_overflow" and self._shorten(plan):
                    continue
                elif fault.status in _REPEATED and not repeated:
                    repeated = True
                    continue
                _log.info(
                    "a call of a model failed",
                    model=str(one.target),
                    deployment=one.name,
                    kind=fault.kind,
                    status=fault.status,
                    attempt=self._attempt,
                    reason=fault.message,
                )
                await self._runtime.healths.failed(one.name, fault)
                raise LocatedFault(fault, one.target, one.name) from None

    @property
    def looked(self) -> bool:
        """Whether it is known that the effect had no answer."""
        return self._admitting.looked

    def leave(self) -> None:
        """Say that the attempt is over."""
        if self._sink is not None:
            self._sink.leave()

    def _shorten(self, plan: Plan) -> bool:
        """Leave something out of the prompt; False where there is nothing more, or another model is to be asked."""
        if self.turns:
            self.turns = ()
            return True
        if plan.following("context_overflow") is not None or (effect := next(self._shorter, None)) is None:
            return False
        self._preparing = Preparing(effect, self._runtime.files)
        return True

    async def _once(self, one: Candidate, learned: frozenset[str], plan: Plan) -> ModelAnswer:
        await self._runtime.warming.load(one.target, one.wire)
        try:
            asked = await self._preparing.ask(one, learned, self.turns, self._runtime.counters)
            endpoint = await self._runtime.endpoint(one)
        except ModelFault as fault:
            # Nothing was sent: it is no fault of the deployment's server.
            raise LocatedFault(fault, one.target, one.name) from None
        call = await self._admitting.admit(one, asked)
        with self._runtime.healths.asking(one.name):
            try:
                said = await self._listen(call, endpoint)
            except ModelFault as fault:
                await unbroken(self._write_off(call, fault.kind, billed=fault.maybe_billed))
                raise
            except asyncio.CancelledError:
                late = asyncio.get_running_loop().time() >= self._admitting.ends
                await unbroken(self._write_off(call, "timeout" if late else "cancelled", billed=True))
                raise
        return await self._finish(call, said, plan)

    async def _listen(self, call: Admittance, endpoint: Endpoint) -> Accumulated:
        one, self._sent = call.candidate, call.asked.call
        adapter = self._runtime.adapters.get(one.wire)
        if adapter is None:
            raise ModelFault("internal", f"nothing here speaks {one.wire!r}")
        show = self._show if self._sink is not None else None
        through = self._through() if self._through is not None and show is not None else None
        listening = call.listening = Listening(call.asked.call, endpoint, Shown(self._effect.think), show, through)
        return await listening.to_end(adapter)

    async def _show(self, text: str) -> None:
        assert self._sink is not None
        self.given_out = True
        await self._sink.text(text)

    async def _finish(self, call: Admittance, said: Accumulated, plan: Plan) -> ModelAnswer:
        """Keep and account for an answer. From here on it is paid for: nothing may lose it."""
        listening = call.listening
        assert listening is not None
        tokens = await used(said.tokens, listening, call.asked)
        spent = self._spent(call, tokens, simulated=said.simulated)
        object_: dict[str, JsonValue] | None = None
        refused = said.finish in ("refusal", "content_filter")
        if refused and not self.given_out and plan.following("content_refused") is not None:
            await unbroken(self._account(call, "content_refused", spent))
            raise ModelFault("content_refused", said.refusal or "the model refused to answer")
        if call.asked.call.answer is not None and not refused:
            try:
                schema = call.asked.call.answer.schema_
                # In a thread: mending and checking a long one takes a second.
                cut = said.finish == "length"
                object_ = await asyncio.to_thread(structured.read, said.text, schema, cut=cut)
            except ModelFault as fault:
                await unbroken(self._account(call, fault.kind, spent))
                raise
        if refused and said.refusal and not listening.shown.text and self._sink is not None:
            await self._show(said.refusal)
        answer = answer_of(call.made, said, listening.shown, spent, object_, call.asked.remembered)
        await unbroken(self._keep(call, spent, answer))
        self._runtime.worked(call.candidate, call.asked, said)
        return answer

    async def _keep(self, call: Admittance, spent: Spent, answer: ModelAnswer) -> None:
        kept = self._account(call, None, spent, answer)
        if self._sink is None:
            await kept
        else:
            await asyncio.gather(kept, self._sink.done())

    def _spent(self, call: Admittance, tokens: Tokens, *, simulated: bool) -> Spent:
        target, listening = call.candidate.target, call.listening
        price = self._runtime.prices.price(target.provider, target.model, tokens, datetime.now(UTC))
        if listening is None:
            return Spent(tokens, price)
        return Spent(tokens, price, listening.seconds, listening.first_delta, listening.headers.request_id, simulated)

    async def _write_off(self, call: Admittance, kind: FaultKind, *, billed: bool) -> None:
        """Account for a call that failed; what a provider may have charged for it is estimated."""
        listening = call.listening
        tokens = Tokens()
        if listening is not None and (billed or listening.first_delta is not None or listening.told is not None):
            tokens = await used(listening.told, listening, call.asked, whole=False)
        await self._account(call, kind, self._spent(call, tokens, simulated=False))

    async def _account(
        self, call: Admittance, kind: FaultKind | None, spent: Spent, answer: ModelAnswer | None = None
    ) -> None:
        keeps = answer is not None and bool(self._meta.run_id)
        row = usage_row(call.made, "answer" if answer is not None else "wasted", kind, spent, now_ms())
        await settle(
            self._runtime.ledger,
            Settlement(
                admission=call.made.id,
                money=nanos(spent.price.total),
                tokens=spent.tokens.total,
                usage=row,
                answer_key=self._admitting.work if keeps else None,
                answer=answer.model_dump(mode="json", exclude={"meta"}) if answer is not None and keeps else None,
                scopes=tuple(budget.claim.scope for budget in call.budgets),
                run_id=self._meta.run_id,
                also=None if answer is None or self._also is None else self._also(answer),
            ),
        )
