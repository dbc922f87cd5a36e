"""One attempt at an effect: from what a node asks to an answer that is paid for, kept and accounted for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.faults import FaultKind
from perdure_store.ledger_records import LedgerAway
from perdure_store.recorder import now_ms

from .admitting import AlreadyPaid, NotNow
from .calling import Calling
from .cooldown import UNMENDED, state_of
from .declared.load import UnknownModel
from .declared.problems import UnknownProvider
from .failover import OF_DEPLOYMENT, LocatedFault, Plan, Target, to_report
from .protocol import ModelFault
from .remember import Turn, most_turns
from .route import Candidate, asked, candidates
from .settle import NO_RUN, journal_key

if TYPE_CHECKING:
    from .config import Reason
    from .runtime import Runtime

# How long a call that tries whether a deployment is well may take before another one may try.
_PROBE_S = 30.0
# While another call tries, the outcome is looked for so often.
_LOOK_S = 0.25
# A journal that is away is asked so often by later attempts: what they would pay may be paid already.
_JOURNAL_TRIES = 3


class Invocation:
    """One attempt. Not to be used twice, nor is the `calling` that makes its calls."""

    def __init__(self, runtime: Runtime, effect: InvokeModel, attempt: int, calling: Calling) -> None:
        self._runtime = runtime
        self._effect = effect
        self._attempt = attempt
        self._meta = effect.meta or NO_RUN
        self._faults: list[LocatedFault] = []
        self._target = Target(effect.provider, effect.model)
        self._calling = calling

    async def perform(self) -> ModelAnswer:
        """Give the answer: the one paid for before, or a new one.

        Raises:
            LocatedFault: there is none; says whose fault it is, and what to do.
            PlatformError: the run store is away and budgets must be kept, or the configuration is broken.
        """
        if self._attempt > 1 and (found := await self._paid_for()) is not None:
            return found
        limit = asyncio.timeout(self._effect.total_s)
        try:
            async with limit:
                return await self._ask_once()
        except TimeoutError:
            if not limit.expired():
                raise
            text = f"no answer within {self._effect.total_s:g} s, which is the limit of one attempt"
            raise LocatedFault(ModelFault("timeout", text), self._target, self._calling.deployment) from None
        finally:
            self._calling.leave()

    async def _ask_once(self) -> ModelAnswer:
        """Ask, unless there is an answer already: a first attempt may follow those that an operator gave up."""
        try:
            return await self._ask()
        except AlreadyPaid as paid:
            return _read(paid.answer) or await self._ask()
        except LocatedFault:
            # None was to be asked, so nothing was looked up.
            if self._calling.looked or (found := await self._paid_for()) is None:
                raise
            return found

    async def _paid_for(self) -> ModelAnswer | None:
        ledger = self._runtime.ledger
        if ledger.is_off or not self._meta.run_id:
            return None
        for tries in range(_JOURNAL_TRIES if self._attempt > 1 else 1):
            try:
                kept = await ledger.answer(journal_key(self._effect))
                return None if kept is None else _read(kept)
            except LedgerAway:
                await asyncio.sleep(0.2 * tries)
        return None

    async def _ask(self) -> ModelAnswer:
        """Ask the model that the graph names, then those that stand in for it."""
        runtime, effect = self._runtime, self._effect
        self._calling.turns = await self._past()
        target = self._target = asked(runtime.config, runtime.catalog, effect.provider, effect.model)
        plan = Plan(target, self._fallbacks)
        while True:
            try:
                return await self._ask_model(target, plan)
            except LocatedFault as fault:
                self._faults.append(fault)
                if self._calling.given_out or fault.kind == "budget_exceeded":
                    raise
                following = plan.go_on(fault.because)
                if following is None:
                    raise to_report(self._faults) from None
                target = self._target = following

    def _fallbacks(self, target: Target, reason: Reason) -> list[Target]:
        config, catalog = self._runtime.config, self._runtime.catalog
        found = config.fallbacks_for(catalog, target.provider, target.model, reason)
        return [Target(catalog.id_of(provider), model) for provider, model in found]

    async def _past(self) -> tuple[Turn, ...]:
        remember, ledger = self._effect.remember, self._runtime.ledger
        if remember is None or ledger.is_off:
            return ()
        tenant = self._meta.tenant if self._meta.run_id else None
        return tuple(await ledger.turns(remember.conversation_id, remember.before, most_turns(remember), tenant=tenant))

    async def _ask_model(self, target: Target, plan: Plan) -> ModelAnswer:
        """Ask the deployments that serve a model, one after another."""
        try:
            left = list(candidates(self._runtime.config, self._runtime.catalog, target))
        except (UnknownProvider, UnknownModel) as error:
            raise LocatedFault(ModelFault("not_found", str(error)), target) from None
        except ModelFault as fault:
            raise LocatedFault(fault, target) from None
        loop = asyncio.get_running_loop()
        patience = loop.time() + self._runtime.config.wait_s
        alone = len(left) == 1
        full: dict[str, float] = {}
        faults: list[LocatedFault] = []
        while left:
            free = [one for one in left if full.get(one.name, 0.0) <= loop.time()]
            chosen, opens_s, because = await self._choose(free, plan, alone=alone)
            if chosen is None:
                times = [at - loop.time() for name, at in full.items() if any(one.name == name for one in left)]
                wait = max(0.0, min([opens_s, *times]))
                if loop.time() + wait > patience:
                    faults.append(_none_free(target, wait, because))
                    break
                await asyncio.sleep(wait)
                continue
            try:
                return await self._calling.ask(chosen, plan)
            except NotNow as refused:
                full[chosen.name] = loop.time() + refused.retry_after_s
            except LocatedFault as fault:
                if self._calling.given_out or fault.kind not in OF_DEPLOYMENT:
                    raise
                faults.append(fault)
                left.remove(chosen)
        self._faults += faults
        worst = to_report(faults)
        self._faults.remove(worst)
        raise worst

    async def _choose(
        self, several: list[Candidate], plan: Plan, *, alone: bool
    ) -> tuple[Candidate | None, float, FaultKind]:
        """Choose a deployment that may be asked now; else say in how many seconds the first may be, and why not now."""
        if not several:
            return None, float("inf"), "rate_limited"
        healths, now = self._runtime.healths, now_ms()
        known = await healths.of(one.name for one in several)
        ready = [one for one in several if state_of(known[one.name], now) != "cooling"]
        while ready:
            one = self._runtime.choice.among(ready, known, healths.in_flight, healths.begun)
            # Where there is no other, waiting for the outcome of another call would gain nothing.
            if state_of(known[one.name], now) == "well" or alone or await healths.probe(one.name, _PROBE_S):
                return one, 0.0, "rate_limited"
            ready.remove(one)
        first = min(several, key=lambda one: known[one.name].open_until)
        kind = known[first.name].kind or "rate_limited"
        for one in several:
            if self._asked_anyway(known[one.name].kind or "rate_limited", plan, alone=alone):
                return one, 0.0, kind
        return None, max(_LOOK_S, (known[first.name].open_until - now) / 1000), kind

    def _asked_anyway(self, kind: FaultKind, plan: Plan, *, alone: bool) -> bool:
        """Whether a deployment is asked although it is to be left alone: nothing else would help.

        A later attempt has waited already, for as long as the provider wanted.
        """
        if plan.following(kind) is not None:
            return False
        return kind in UNMENDED or (alone and (kind != "rate_limited" or self._attempt > 1))


def _read(kept: dict[str, Any]) -> ModelAnswer | None:
    try:
        return ModelAnswer.model_validate(kept)
    except ValidationError:
        # Another version of Perdure wrote it.
        return None


def _none_free(target: Target, wait_s: float, because: FaultKind) -> LocatedFault:
    text = f"none of its deployments may be asked now (after {because}); the first may be in {wait_s:.1f} s"
    return LocatedFault(ModelFault("rate_limited", text, retry_after_s=wait_s), target, because=because)
