"""What calls of models used: a row for each call, sums of them, and how budgets stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from .database import plain, short
from .ledger_records import Spent, UsageReport, UsageRow, UsageTotal
from .ledger_tables import SPENDING, USAGE
from .statements import insert_new

_FIELDS = tuple(field.name for field in fields(UsageRow))
_SUMS = ("money", "prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class More:
    """What a row takes from budgets beyond what was taken for it before, from `scopes`."""

    money: int
    tokens: int
    scopes: list[str] = field(default_factory=list[str])


def record(
    connection: Connection, row: UsageRow, money: int, tokens: int, *, lost_from: list[str] | None = None
) -> More:
    """Write a row, or what really happened in place of what was feared; written again it adds nothing.

    lost_from: it is what is feared of a call whose worker died, taken from these budgets.
    """
    given = {name: getattr(row, name) for name in _FIELDS}
    values = {name: plain(value) if isinstance(value, str) else value for name, value in given.items()}
    values |= {name: short(values[name]) for name in ("id", "tenant")}
    values |= {"money": money, "spent": tokens, "lost": lost_from is not None, "scopes": lost_from}
    if insert_new(connection, USAGE, values):
        return More(money, tokens)
    same = USAGE.c.id == values["id"]
    query = select(USAGE.c.lost, USAGE.c.money, USAGE.c.spent, USAGE.c.scopes).where(same).with_for_update()
    before = connection.execute(query).one()
    if lost_from is not None or not before.lost:
        return More(0, 0)
    connection.execute(USAGE.update().where(same).values(**values))
    return More(money - before.money, tokens - before.spent, before.scopes or [])


def usage(connection: Connection, run_id: str | None, tenant: str | None, since: int | None, limit: int) -> UsageReport:
    """Give sums of calls, and the newest of them."""
    where: list[ColumnElement[bool]] = []
    if run_id is not None:
        where.append(USAGE.c.run_id == run_id)
    if tenant is not None:
        where.append(USAGE.c.tenant == short(tenant))
    if since is not None:
        where.append(USAGE.c.at >= since)
    sums = [func.sum(USAGE.c[name]).label(name) for name in _SUMS]
    of = (USAGE.c.outcome, USAGE.c.currency)
    totals = select(*of, func.count().label("calls"), *sums).where(*where).group_by(*of).order_by(*of)
    newest = select(USAGE).where(*where).order_by(USAGE.c.at.desc(), USAGE.c.id.desc()).limit(limit)
    return UsageReport(
        tuple(_total(dict(row)) for row in connection.execute(totals).mappings()),
        tuple(UsageRow(**{name: row[name] for name in _FIELDS}) for row in connection.execute(newest).mappings()),
    )


def spent(connection: Connection, scopes: Sequence[str]) -> dict[str, Spent]:
    """Say how budgets stand; nothing was spent of one that is not known."""
    c, keys = SPENDING.c, {scope: short(scope) for scope in scopes}
    rows = connection.execute(select(SPENDING).where(c.scope.in_(keys.values()))).mappings()
    found = {
        row["scope"]: Spent(row["money"], row["tokens"], row["reserved_money"], row["reserved_tokens"]) for row in rows
    }
    return {scope: found.get(key, Spent()) for scope, key in keys.items()}


def _total(row: dict[str, Any]) -> UsageTotal:
    sums: dict[str, Any] = {name: int(row[name] or 0) for name in ("calls", *_SUMS)}
    return UsageTotal(**row | sums)
