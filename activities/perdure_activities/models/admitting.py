"""Letting a call begin: what it may use is reserved of the limits of its deployment and of budgets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perdure_graph.models.effects import InvokeModel
from perdure_store.ledger_records import Admission, Answered, LedgerAway, Refused
from perdure_store.recorder import now_ms

from .call import Listening
from .failover import LocatedFault
from .prepare import Asked
from .protocol import ModelFault
from .reserve import Counted, check_currency, counted, over
from .route import Candidate
from .settle import NO_RUN, Spent, Try, journal_key, unbroken, usage_row

if TYPE_CHECKING:
    from .runtime import Runtime

# After the limit of an attempt, what it holds of budgets is freed this much later, should its worker be gone.
_GRACE_S = 30.0


class NotNow(Exception):
    """A deployment is at its limits."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"at its limits for {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class AlreadyPaid(Exception):
    """The effect has an answer, as JSON: no call is let in."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__("the effect has an answer")
        self.answer = answer


@dataclass(slots=True)
class Admittance:
    """One call on its way, and what it counts against."""

    made: Try
    candidate: Candidate
    asked: Asked
    budgets: tuple[Counted, ...]
    listening: Listening | None = field(default=None)


class Admitting:
    """Lets the calls of one attempt at an effect begin. `work` names the effect, `ends` is of the loop's clock.

    looked: whether it is known that the effect has no answer yet, as far as the ledger answered.
    """

    def __init__(self, runtime: Runtime, effect: InvokeModel, attempt: int) -> None:
        self._runtime = runtime
        self._effect = effect
        self._attempt = attempt
        self._meta = effect.meta or NO_RUN
        self._number = 0
        self.looked = attempt > 1
        self.ends = asyncio.get_running_loop().time() + effect.total_s
        # Outside of a run nothing names the effect, and nothing must take it for another.
        self.work = journal_key(effect) if self._meta.run_id else f"-/{uuid.uuid4()}"

    async def admit(self, one: Candidate, asked: Asked) -> Admittance:
        """Reserve what the call may use of limits and budgets.

        Raises:
            NotNow: the deployment is at its limits.
            AlreadyPaid: an earlier attempt had an answer that the run was never told.
            LocatedFault: a budget does not allow it.
            LedgerAway: nobody knows whether budgets allow it.
        """
        runtime, ledger, now = self._runtime, self._runtime.ledger, now_ms()
        budgets = counted(runtime.config.budgets, self._meta, self._effect.user, now)
        if budgets:
            self._check(one, budgets)
            asked = asked.bounded(one.declared.model_properties.max_output)
        if budgets or one.deployment.limits.tokens_per_minute is not None:
            await asked.prompt()
        made = Try(self.work, self._effect, self._attempt, self._number, one.target, one.name)
        call = Admittance(made, one, asked, budgets)
        self._number += 1
        if ledger.is_off:
            return call
        try:
            told = await ledger.admit(self._admission(call, now))
            self.looked = True
        except asyncio.CancelledError:
            # It may have been let in all the same.
            await unbroken(_quietly(ledger.release(call.made.id)))
            raise
        except LedgerAway as error:
            if not budgets:
                return call
            self._runtime.tell(ledger.release(call.made.id))
            names = ", ".join(repr(each.budget.name) for each in budgets)
            raise LedgerAway(
                f"The model {str(one.target)!r} was not asked: the run store is away, and only it knows whether the "
                f"budgets allow it ({names}). It is tried again by itself. {error}"
            ) from None
        if isinstance(told, Answered):
            raise AlreadyPaid(told.answer)
        if not isinstance(told, Refused):
            return call
        if told.why == "rate":
            raise NotNow(told.retry_after_s if told.retry_after_s is not None else 1.0)
        fault, hold = over(budgets, told.what)
        raise LocatedFault(fault, one.target, one.name, hold=hold)

    def _check(self, one: Candidate, budgets: tuple[Counted, ...]) -> None:
        target, prices = one.target, self._runtime.prices
        try:
            check_currency(budgets, prices.currency(target.provider, target.model, datetime.now(UTC)), str(target))
            if self._runtime.ledger.is_off:
                text = "budgets are kept in the run store, and there is none (PERDURE_STORE=off)"
                raise ModelFault("budget_exceeded", text, provider_code="store")
        except ModelFault as fault:
            raise LocatedFault(fault, target, one.name) from None

    def _admission(self, call: Admittance, now: int) -> Admission:
        one, prices, moment = call.candidate, self._runtime.prices, datetime.fromtimestamp(now / 1000, UTC)
        target, most, feared = one.target, call.asked.most(), call.asked.feared()
        price = prices.price(target.provider, target.model, feared, moment)
        money = 0
        if call.budgets:
            money = prices.most(target.provider, target.model, most.prompt, most.completion, moment)
        return Admission(
            id=call.made.id,
            run_id=self._meta.run_id,
            deployment=one.name,
            rates=one.deployment.rates(),
            claims=tuple(each.claim for each in call.budgets),
            money=money,
            # A limit of tokens per minute asks for what is likely, a budget for what is possible.
            tokens=most.total if call.budgets else feared.total,
            lasts_s=max(0.0, self.ends - asyncio.get_running_loop().time()) + _GRACE_S,
            batch=self._effect.priority == "batch",
            effect_key=self.work,
            if_lost=usage_row(call.made, "wasted", "cancelled", Spent(feared, price), now),
            # Asked for here: most effects have none, and a question of its own costs as much as all of this.
            unless_answered=not self.looked and bool(self._meta.run_id),
        )


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with suppress(LedgerAway):
        await work
