"""Letting calls begin: what a call may use is reserved of all its budgets and limits, or of none.

Rows are always locked in this order, so that no two transactions wait for each other: reservations, usage, budgets by
scope, rates. A budget is checked by the statement that reserves, so that no two calls can both take the last of it.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, exists, or_, select

from . import journal
from .database import short
from .ledger_records import Admission, Admitted, Answered, Claim, NotAdmitted, Refused
from .ledger_tables import RESERVATIONS, SPENDING
from .rates import take
from .statements import insert_new

# Calls that lost their worker: their time is over, or their effect has begun another call; with values of `lost`.
LOST = and_(
    RESERVATIONS.c.id != bindparam("itself"),
    or_(
        RESERVATIONS.c.expires_at <= bindparam("now"),
        and_(RESERVATIONS.c.effect_key == bindparam("effect"), RESERVATIONS.c.attempt <= bindparam("until")),
    ),
)
_ANY_LOST = select(exists().where(LOST))
_NO_ATTEMPT = -1


def admit(connection: Connection, asked: Admission, now: int) -> Admitted | Answered | None:
    """Let a call begin; None when calls that lost their worker must be settled first.

    Raises:
        NotAdmitted: it may not, and the transaction must be undone.
    """
    if asked.unless_answered and (found := journal.answer(connection, asked.effect_key)) is not None:
        return Answered(found)
    if connection.execute(_ANY_LOST, lost(asked, now)).scalar_one():
        return None
    expires_at = now + round(asked.lasts_s * 1000)
    row = {
        "id": short(asked.id),
        "effect_key": short(asked.effect_key),
        "attempt": attempt_of(asked),
        "run_id": asked.run_id,
        "deployment": asked.deployment,
        "scopes": sorted({short(claim.scope) for claim in asked.claims}),
        "money": asked.money,
        "tokens": asked.tokens,
        "expires_at": expires_at,
        "if_lost": None if asked.if_lost is None else asdict(asked.if_lost),
    }
    if not insert_new(connection, RESERVATIONS, row):
        same = RESERVATIONS.c.id == short(asked.id)
        connection.execute(RESERVATIONS.update().where(same).values(expires_at=expires_at))
        return Admitted()
    for claim in _by_scope(asked.claims):
        _reserve(connection, claim, asked.money, asked.tokens, now)
    take(connection, asked, now)
    return Admitted()


def attempt_of(asked: Admission) -> int:
    """Say of which attempt of its effect a call is, as far as that is known."""
    return asked.if_lost.attempt if asked.if_lost else 0


def lost(asked: Admission | None, now: int) -> dict[str, Any]:
    """Give the values for `LOST`; without a call that begins, or one without a key, only time tells."""
    return {
        "itself": short(asked.id) if asked else "",
        "now": now,
        "effect": short(asked.effect_key) if asked else "",
        "until": attempt_of(asked) if asked and asked.effect_key else _NO_ATTEMPT,
    }


def _by_scope(claims: tuple[Claim, ...]) -> list[Claim]:
    """Give one claim for each scope, in their order; of several limits the lowest holds."""
    found: dict[str, Claim] = {}
    for claim in claims:
        scope = short(claim.scope)
        other = found.get(scope, claim)
        money, tokens = _lower(claim.money, other.money), _lower(claim.tokens, other.tokens)
        found[scope] = replace(claim, scope=scope, money=money, tokens=tokens)
    return [found[scope] for scope in sorted(found)]


def _lower(one: int | None, other: int | None) -> int | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)


def _reserve(connection: Connection, claim: Claim, money: int, tokens: int, now: int) -> None:
    limits = {name: most for name, most in (("money", claim.money), ("tokens", claim.tokens)) if most is not None}
    update = _reserving(frozenset(limits))
    values = {"of": claim.scope, "more_money": money, "more_tokens": tokens}
    values |= {f"most_{name}": most for name, most in limits.items()}
    if connection.execute(update, values).rowcount:
        return
    # Nothing was spent of it yet, or somebody else is first to.
    empty = dict.fromkeys(("money", "tokens", "reserved_money", "reserved_tokens"), 0)
    whose = {"run_id": claim.run_id, "ends_at": claim.ends_at, "created_at": now}
    insert_new(connection, SPENDING, {"scope": claim.scope, **empty, **whose})
    if not connection.execute(update, values).rowcount:
        raise NotAdmitted(Refused("budget", claim.scope))


@lru_cache
def _reserving(limited: frozenset[str]) -> Any:
    """Reserve of a budget, as far as it goes: of what is `limited` there must be enough."""
    c = SPENDING.c
    more: dict[str, BindParameter[Any]] = {name: bindparam(f"more_{name}") for name in ("money", "tokens")}
    held = {f"reserved_{name}": c[f"reserved_{name}"] + value for name, value in more.items()}
    within = [c[name] + c[f"reserved_{name}"] + more[name] <= bindparam(f"most_{name}") for name in sorted(limited)]
    return SPENDING.update().where(c.scope == bindparam("of"), *within).values(held)
