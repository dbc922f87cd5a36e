"""Accounting for calls that are over: what they used takes the place of what they had reserved, once."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from . import journal
from .admission import LOST, lost
from .database import short
from .ledger_records import Admission, Settlement, UsageRow, nanos
from .ledger_tables import RESERVATIONS, SPENDING
from .rates import give_back
from .statements import insert_into
from .usage_rows import record

AT_ONCE = 100

_TAKE = delete(RESERVATIONS).where(RESERVATIONS.c.id == bindparam("of")).returning(RESERVATIONS)
_LOST = select(RESERVATIONS).where(LOST).order_by(RESERVATIONS.c.id).limit(AT_ONCE).with_for_update()


def settle(connection: Connection, over: Settlement, now: int) -> None:
    """Account for a call. Where it was taken for lost, what really happened takes the place of what was feared."""
    held = _taken(connection, over.admission)
    scopes: list[str] = held["scopes"] if held else sorted({short(scope) for scope in over.scopes})
    money, tokens = over.money, over.tokens
    if over.usage is not None:
        more = record(connection, over.usage, over.money, over.tokens)
        money, tokens = more.money, more.tokens
        scopes = scopes or more.scopes
    elif held is None:
        # Settled before, or never begun: nothing tells them apart, and nothing was used that is known.
        money = tokens = 0
    reserved = (held["money"], held["tokens"]) if held else (0, 0)
    for scope in scopes:
        _spend(connection, scope, money=money, tokens=tokens, reserved=reserved)
    if held:
        give_back(connection, held["deployment"], requests=0, tokens=held["tokens"] - over.tokens)
    if over.answer_key is not None and over.answer is not None:
        run_id = over.usage.run_id if over.usage else held["run_id"] if held else over.run_id
        journal.keep(connection, over.answer_key, run_id, over.answer, now)
    if over.also is not None:
        over.also.write(connection)


def release(connection: Connection, admission: str) -> None:
    """Free what a call had reserved that was never sent."""
    held = _taken(connection, admission)
    if held is None:
        return
    for scope in held["scopes"]:
        _spend(connection, scope, reserved=(held["money"], held["tokens"]))
    give_back(connection, held["deployment"], requests=1, tokens=held["tokens"])


def sweep(connection: Connection, asked: Admission | None, now: int) -> int:
    """Settle some of the calls that lost their worker as what was feared of them; how many they were."""
    rows = list(connection.execute(_LOST, lost(asked, now)).mappings())
    changes: dict[str, list[int]] = {}
    for row in rows:
        connection.execute(delete(RESERVATIONS).where(RESERVATIONS.c.id == row["id"]))
        money = tokens = 0
        if row["if_lost"] is not None:
            feared = UsageRow(**row["if_lost"])
            spent = feared.prompt_tokens + feared.completion_tokens
            more = record(connection, feared, nanos(feared.price), spent, lost_from=row["scopes"])
            money, tokens = more.money, more.tokens
        for scope in row["scopes"]:
            change = changes.setdefault(scope, [0, 0, 0, 0])
            changes[scope] = [a + b for a, b in zip(change, (money, tokens, row["money"], row["tokens"]), strict=True)]
    for scope, (money, tokens, *reserved) in sorted(changes.items()):
        _spend(connection, scope, money=money, tokens=tokens, reserved=(reserved[0], reserved[1]))
    return len(rows)


def _taken(connection: Connection, admission: str) -> Any:
    return connection.execute(_TAKE, {"of": short(admission)}).mappings().first()


def _spend(
    connection: Connection, scope: str, *, money: int = 0, tokens: int = 0, reserved: tuple[int, int] = (0, 0)
) -> None:
    """Add to what was spent of a budget, and take `reserved` off what is held of it."""
    row: dict[str, Any] = {
        "scope": scope,
        "money": money,
        "tokens": tokens,
        "reserved_money": -reserved[0],
        "reserved_tokens": -reserved[1],
    }
    # Of a budget that nobody claimed before, it is not known whose it is: it is kept.
    row |= {"run_id": None, "ends_at": None, "created_at": 0}
    connection.execute(_add(connection.dialect.name), row)


@lru_cache
def _add(dialect: str) -> Any:
    insert = insert_into(SPENDING, dialect)
    sums = ("money", "tokens", "reserved_money", "reserved_tokens")
    changes = {name: SPENDING.c[name] + insert.excluded[name] for name in sums}
    return insert.on_conflict_do_update(index_elements=["scope"], set_=changes)
