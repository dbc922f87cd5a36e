"""What a call counts against before it begins: budgets, and at most how much of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, assert_never

from perdure_graph.effects import EffectMeta
from perdure_store.ledger_records import Claim

from .protocol import ModelFault

if TYPE_CHECKING:
    from .config import Budget

# Tokens of an answer whose length nobody limits; then the call is told this limit, so that it holds.
UNLIMITED_ANSWER = 16_384


@dataclass(frozen=True, slots=True)
class Counted:
    """A budget that a call counts against. `of` says whose it is, for people."""

    budget: Budget
    claim: Claim
    of: str


def counted(budgets: Iterable[Budget], meta: EffectMeta, user: str, at: int) -> tuple[Counted, ...]:
    """Find the budgets that a call counts against. at: milliseconds since the epoch; periods are those of UTC."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    found: list[Counted] = []
    for budget in budgets:
        whose = _subject(budget, meta, user)
        if budget.covers(whose):
            of = f"the budget {budget.name!r}" + (f" of {budget.per} {whose!r}" if budget.per != "all" else "")
            claim = Claim(
                budget.scope(whose, moment),
                budget.nanos,
                budget.tokens,
                run_id=whose if budget.per == "run" else None,
                ends_at=budget.ends_at(moment),
            )
            found.append(Counted(budget, claim, of if budget.period == "total" else f"{of} for this {budget.period}"))
    return tuple(found)


def _subject(budget: Budget, meta: EffectMeta, user: str) -> str:
    match budget.per:
        case "run":
            return meta.run_id
        case "flow":
            return meta.flow
        case "user":
            return user
        case "tenant":
            return meta.tenant
        case "all":
            return ""
        case _:
            assert_never(budget.per)


def check_currency(counted: Sequence[Counted], currency: str, model: str) -> None:
    """Refuse a call whose price cannot be compared with a budget.

    Raises:
        ModelFault: it costs another currency.
    """
    for one in counted:
        if one.budget.money is not None and currency != one.budget.currency:
            raise ModelFault(
                "budget_exceeded",
                f"{one.of} is in {one.budget.currency}, and {model!r} is priced in {currency}; give its price in "
                f"{one.budget.currency} under `prices` of the models file",
                provider_code="currency",
            )


def over(counted: Sequence[Counted], scope: str) -> tuple[ModelFault, bool]:
    """Say which budget is used up, and whether the run is to wait for an operator."""
    one = next((one for one in counted if one.claim.scope == scope), None)
    if one is None:
        return ModelFault("budget_exceeded", f"the budget {scope!r} does not allow this call"), False
    limits = [f"{one.budget.money} {one.budget.currency}"] if one.budget.money is not None else []
    limits += [f"{one.budget.tokens} tokens"] if one.budget.tokens is not None else []
    text = f"{one.of} ({' and '.join(limits)}) does not allow this call"
    return ModelFault("budget_exceeded", text, provider_code="budget"), one.budget.when_over == "wait"
