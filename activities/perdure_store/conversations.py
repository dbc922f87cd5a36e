"""Conversations: runs that are turns of one, in their order."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, tuple_

from .columns import Json
from .database import short
from .tables import RUNS

MOST_TURNS = 1000
AT_ONCE = 50
_ANSWERED = ("succeeded", "partial-succeeded")


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn that was answered."""

    run_id: str
    query: str
    answer: str


def turns(
    connection: Connection, conversation_id: str, before_run: str, most: int | None, tenant: str | None
) -> list[Turn]:
    """Give the turns that were answered, the newest last.

    tenant: whose they are; that of the run, and nobody's where the run is not known: a conversation's id may be known
        to others than those it belongs to.
    """
    c = RUNS.c
    run = connection.execute(select(c.started_at, c.id, c.tenant).where(c.id == before_run)).first()
    owner = run.tenant if tenant is None and run is not None else tenant
    if owner is None or (most is not None and most <= 0):
        return []
    query = select(c.id, c.query, c.outputs).where(
        c.conversation_id == short(conversation_id), c.tenant == owner, c.id != before_run
    )
    query = query.where(c.status.in_(_ANSWERED)).order_by(c.started_at.desc(), c.id.desc()).limit(MOST_TURNS)
    if run is not None:
        query = query.where(tuple_(c.started_at, c.id) < tuple_(run.started_at, run.id))
    found: list[Turn] = []
    # Answers may be long, and few of the rows are wanted.
    for row in connection.execute(query, execution_options={"yield_per": AT_ONCE}):
        outputs: Json = row.outputs or {}
        answer = outputs.get("answer")
        if isinstance(answer, str) and answer:
            found.append(Turn(row.id, row.query, answer))
        if len(found) == most:
            break
    return found[::-1]
