"""How calls are accounted: one row for each, whatever became of it, and its answer in the same transaction."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import structlog

from perdure_graph.effects import EffectMeta
from perdure_graph.models.effects import InvokeModel, ModelAnswer
from perdure_graph.models.faults import FaultKind
from perdure_graph.models.usage import Price, Tokens
from perdure_store.ledger_records import Settlement, UsageRow

from .failover import Target

if TYPE_CHECKING:
    from perdure_store.ledger import Ledger

T = TypeVar("T")

_log = structlog.stdlib.get_logger("perdure.models")

# A store that is away is asked again after so long, then the answer counts more than its accounting.
_AGAIN_S = (0.1, 0.4, 1.0)
# How long the end of a call may be written after it was cancelled.
_GRACE_S = 4.0

# An effect without meta is performed outside of a run; it has no journal.
NO_RUN = EffectMeta(run_id="", key="", idempotency_key="")


@dataclass(frozen=True, slots=True)
class Try:
    """One call of a provider: the `number`-th of an attempt at an effect, from 0.

    work: names the effect.
    """

    work: str
    effect: InvokeModel
    attempt: int
    number: int
    target: Target
    deployment: str

    @property
    def id(self) -> str:
        """Name it; the same for nothing else."""
        return f"{self.work}@{self.attempt}.{self.number}"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a call used, cost and took. Times in seconds."""

    tokens: Tokens = field(default_factory=Tokens)
    price: Price = field(default_factory=Price)
    latency: float = 0.0
    first_delta: float | None = None
    request_id: str = ""
    simulated: bool = False


def journal_key(effect: InvokeModel) -> str:
    """Name an effect for good: what was answered under it is never asked again."""
    meta = effect.meta or NO_RUN
    return f"{meta.run_id}/{meta.scope}/{meta.key}"


def node_of(key: str) -> str:
    """Find the node in the key of an effect: `k` in `it[3].k#2`."""
    return re.sub(r"^.*\]\.", "", re.sub(r"#\d+$", "", key))


def usage_row(
    call: Try, outcome: Literal["answer", "wasted", "cached"], fault: FaultKind | None, spent: Spent, at: int
) -> UsageRow:
    """Account for a call. at: when it ended, milliseconds since the epoch."""
    meta, tokens, price = call.effect.meta or NO_RUN, spent.tokens, spent.price
    return UsageRow(
        id=call.id,
        run_id=meta.run_id,
        scope=meta.scope,
        key=meta.key,
        node_id=call.effect.stream.node_id if call.effect.stream else node_of(meta.key),
        flow=meta.flow,
        user=call.effect.user,
        tenant=meta.tenant,
        provider=call.target.provider,
        model=call.target.model,
        deployment=call.deployment,
        attempt=call.attempt,
        outcome=outcome,
        fault=fault,
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        cache_read_tokens=tokens.cache_read,
        cache_write_tokens=tokens.cache_write,
        reasoning_tokens=tokens.reasoning,
        estimated=tokens.estimated,
        price=format(price.total, "f"),
        currency=price.currency,
        price_source=price.source,
        price_version=price.version,
        latency=spent.latency,
        first_delta=spent.first_delta,
        request_id=spent.request_id,
        simulated=spent.simulated,
        at=at,
    )


def cached_row(effect: InvokeModel, attempt: int, answer: ModelAnswer, at: int) -> UsageRow:
    """Account for an answer that was taken from an equal request."""
    call = Try(journal_key(effect), effect, attempt, 0, Target(answer.provider, answer.model), answer.deployment)
    spent = Spent(answer.usage.tokens, answer.usage.price, simulated=answer.simulated)
    return usage_row(call, "cached", None, spent, at)


async def settle(ledger: Ledger, settlement: Settlement) -> bool:
    """Settle a call. A store that is away is asked a few times more; an answer that was paid for is never held back."""
    if ledger.is_off:
        return False
    for pause in (*_AGAIN_S, None):
        try:
            await ledger.settle(settlement)
        except Exception as error:
            if pause is None:
                _log.warning(
                    "a call of a model could not be accounted: the run store is away",
                    call=settlement.admission,
                    money_nanos=settlement.money,
                    tokens=settlement.tokens,
                    error=type(error).__name__,
                )
                return False
            # It may be that what goes along cannot be written; whoever wants it there tries by itself.
            settlement = replace(settlement, also=None)
            await asyncio.sleep(pause)
        else:
            return True
    return False


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Do a piece of work to its end, also when whoever waits for it is cancelled; then raise that."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,), timeout=_GRACE_S)
        raise
