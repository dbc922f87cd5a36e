"""Rows of the long-term memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Select, select
from sqlalchemy import delete as delete_from

from .agent_tables import MEMORIES
from .database import plain, short
from .statements import insert_into

if TYPE_CHECKING:
    from .memories import Fact, Owner


def add(connection: Connection, owner: Owner, fact: Fact, most: int) -> None:
    """Write a fact, or that it was told again; beyond `most` the oldest go."""
    whose = {"tenant": short(owner.tenant), "user": short(owner.user), "agent": short(owner.agent)}
    times = {"created_at": fact.told_at, "updated_at": fact.told_at}
    row = {"id": fact.id, **whose, "fact": plain(fact.text), **times}
    insert = insert_into(MEMORIES, connection.dialect.name)
    connection.execute(insert.on_conflict_do_update(index_elements=["id"], set_={"updated_at": fact.told_at}), row)
    old = _newest(owner).with_only_columns(MEMORIES.c.id).offset(most).limit(most)
    ids = connection.execute(old).scalars().all()
    if ids:
        connection.execute(delete_from(MEMORIES).where(MEMORIES.c.id.in_(ids)))


def newest(connection: Connection, owner: Owner, most: int) -> list[Fact]:
    """Give facts, newest first."""
    from .memories import Fact

    return [Fact(row.id, row.fact, row.updated_at) for row in connection.execute(_newest(owner).limit(most))]


def delete(connection: Connection, tenant: str, user: str, agent: str | None, fact_id: str | None) -> int:
    """Delete one fact, those of an agent, or all of a user; gives how many."""
    where = _of_user(tenant, user)
    if agent is not None:
        where.append(MEMORIES.c.agent == short(agent))
    if fact_id is not None:
        where.append(MEMORIES.c.id == plain(fact_id))
    return connection.execute(delete_from(MEMORIES).where(*where)).rowcount


def _newest(owner: Owner) -> Select[tuple[object, ...]]:
    where = [*_of_user(owner.tenant, owner.user), MEMORIES.c.agent == short(owner.agent)]
    return select(MEMORIES).where(*where).order_by(MEMORIES.c.updated_at.desc(), MEMORIES.c.id)


def _of_user(tenant: str, user: str) -> list[ColumnElement[bool]]:
    return [MEMORIES.c.tenant == short(tenant), MEMORIES.c.user == short(user)]
