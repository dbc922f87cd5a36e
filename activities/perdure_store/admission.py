"""Letting calls begin: what a call may use is reserved of all its budgets and limits, or of none.

Rows are always locked in this order, so that no two transactions wait for each other: reservations, usage, budgets by
scope, rates. A budget is checked by the statement that reserves, so that no two calls can both take the last of it.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import ColumnElement, Connection, and_, exists, or_, select

from . import journal
from .database import short
from .ledger_records import Admission, Admitted, Answered, Claim, NotAdmitted, Refused
from .ledger_tables import RESERVATIONS, SPENDING
from .rates import take
from .statements import insert_new


def admit(connection: Connection, asked: Admission, now: int) -> Admitted | Answered | None:
    """Let a call begin; None when calls that lost their worker must be settled first.

    Raises:
        NotAdmitted: it may not, and the transaction must be undone.
    """
    if asked.unless_answered and (found := journal.answer(connection, asked.effect_key)) is not None:
        return Answered(found)
    if connection.execute(select(exists().where(lost(asked, now)))).scalar_one():
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


def lost(asked: Admission | None, now: int) -> ColumnElement[bool]:
    """Say which calls lost their worker: their time is over, or their effect has begun another call."""
    c = RESERVATIONS.c
    expired = c.expires_at <= now
    if asked is None:
        return expired
    earlier = and_(c.effect_key == short(asked.effect_key), c.attempt <= attempt_of(asked))
    return and_(c.id != short(asked.id), or_(expired, earlier) if asked.effect_key else expired)


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
    c = SPENDING.c
    within = [c.scope == claim.scope]
    if claim.money is not None:
        within.append(c.money + c.reserved_money + money <= claim.money)
    if claim.tokens is not None:
        within.append(c.tokens + c.reserved_tokens + tokens <= claim.tokens)
    held = {"reserved_money": c.reserved_money + money, "reserved_tokens": c.reserved_tokens + tokens}
    update = SPENDING.update().where(*within).values(**held)
    if connection.execute(update).rowcount:
        return
    # Nothing was spent of it yet, or somebody else is first to.
    empty = dict.fromkeys(("money", "tokens", "reserved_money", "reserved_tokens"), 0)
    whose = {"run_id": claim.run_id, "ends_at": claim.ends_at, "created_at": now}
    insert_new(connection, SPENDING, {"scope": claim.scope, **empty, **whose})
    if not connection.execute(update).rowcount:
        raise NotAdmitted(Refused("budget", claim.scope))
