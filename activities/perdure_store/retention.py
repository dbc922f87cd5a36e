"""Retention: runs that ended long ago leave the store with all that belongs to them, and so do expired replies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Table, and_, delete, exists, false, func, or_, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from perdure_graph.errors import PlatformError

from . import migrate
from .agent_tables import THREADS
from .database import Address, connect, writing
from .ledger_tables import ANSWERS, DELTAS, SPENDING
from .recorder import now_ms
from .run_folders import RunFolders
from .settle import sweep
from .tables import BLOBS, EVENTS, NODES, RESULTS, RUNS, WAITS

DAY_MS = 86_400_000
RUNS_AT_ONCE = 50
BUDGETS_AT_ONCE = 1000

# Children first: the run itself goes with the last of its rows.
_OF_RUN = {
    "events": EVENTS,
    "nodes": NODES,
    "waits": WAITS,
    "blobs": BLOBS,
    "results": RESULTS,
    "answers": ANSWERS,
    "deltas": DELTAS,
    "messages": THREADS,
}


class Removed(BaseModel):
    """How many rows were removed, or would be."""

    model_config = ConfigDict(frozen=True)

    runs: int = 0
    events: int = 0
    nodes: int = 0
    waits: int = 0
    blobs: int = 0
    results: int = 0
    answers: int = 0
    deltas: int = 0
    messages: int = 0
    spending: int = 0

    def plus(self, more: Removed) -> Removed:
        """Add up."""
        return Removed(**{name: getattr(self, name) + getattr(more, name) for name in Removed.model_fields})


async def retain(
    address: Address,
    *,
    days: float,
    dry_run: bool = False,
    folders: RunFolders | None = None,
    at_once: int = RUNS_AT_ONCE,
    now: int | None = None,
) -> Removed:
    """Remove runs that ended more than `days` ago and replies that have expired. Runs that go on are kept.

    What models used is kept for good; calls that lost their worker are accounted. What was spent of a budget goes with
    its run, and `days` after its period; never while a call on its way holds some of it.

    folders: those of the runs go first, so that one is never left without a run that tells whose it was; a run whose
        folder cannot be removed stays, for another time. Without it folders are not looked at.
    at_once: runs in one transaction, so that workers need not wait long to write.

    Raises:
        PlatformError: the store does not answer.
    """
    moment = now_ms() if now is None else now
    before = moment - int(days * DAY_MS)
    engine = connect(address)
    removed = Removed()
    try:
        async with engine.connect() as connection:
            await migrate.check(connection, address)
        if dry_run:
            async with engine.connect() as connection:
                counted = await _count(connection, before, moment)
            if folders is not None:
                async for ids in _old(engine, before, at_once):
                    await asyncio.to_thread(folders.look, ids)
            return counted
        async for ids in _old(engine, before, at_once):
            # Not in the transaction: workers would have to wait for the disk.
            stay = set[str]() if folders is None else await asyncio.to_thread(folders.remove, ids)
            async with writing(engine).begin() as connection:
                wanted = [run_id for run_id in ids if run_id not in stay]
                removed = removed.plus(await _remove_runs(connection, before, wanted))
        async with writing(engine).begin() as connection:
            removed = removed.plus(await _delete_expired(connection, before, moment))
        while await _settle_lost(engine, moment):
            pass
        while count := await _remove_spending(engine, before):
            removed = removed.plus(Removed(spending=count))
        return removed
    except (SQLAlchemyError, OSError) as error:
        raise PlatformError(f"The run store {address} cannot be cleared: {error}") from error
    finally:
        await engine.dispose()


async def _old(engine: AsyncEngine, before: int, at_once: int) -> AsyncIterator[Sequence[str]]:
    """Give the runs that ended before a time, some at once."""
    c, last = RUNS.c, (-1, "")
    while True:
        query = select(c.finished_at, c.id).where(c.finished_at < before, tuple_(c.finished_at, c.id) > last)
        async with engine.connect() as connection:
            rows = (await connection.execute(query.order_by(c.finished_at, c.id).limit(at_once))).all()
        if rows:
            yield [row.id for row in rows]
        if len(rows) < at_once:
            return
        last = rows[-1].finished_at, rows[-1].id


async def _remove_runs(connection: AsyncConnection, before: int, wanted: Sequence[str]) -> Removed:
    query = select(RUNS.c.id).where(RUNS.c.id.in_(wanted), RUNS.c.finished_at < before).order_by(RUNS.c.id)
    # Of two that clear at once, each takes what the other has not.
    query = query.with_for_update(skip_locked=True)
    ids: Sequence[str] = (await connection.execute(query)).scalars().all()
    if not ids:
        return Removed()
    counts = {name: await _delete(connection, table, table.c.run_id.in_(ids)) for name, table in _OF_RUN.items()}
    return Removed(runs=await _delete(connection, RUNS, RUNS.c.id.in_(ids)), **counts)


async def _delete_expired(connection: AsyncConnection, before: int, now: int) -> Removed:
    """Delete what no run takes with it: the results that are too old, and rows of runs that were never recorded."""
    return Removed(
        results=await _delete(connection, RESULTS, RESULTS.c.expires_at <= now),
        answers=await _delete(connection, ANSWERS, _orphaned(ANSWERS, ANSWERS.c.created_at, before)),
        deltas=await _delete(connection, DELTAS, _orphaned(DELTAS, DELTAS.c.at, before)),
        messages=await _delete(connection, THREADS, _orphaned(THREADS, THREADS.c.created_at, before)),
    )


def _orphaned(table: Table, at: ColumnElement[int], before: int) -> ColumnElement[bool]:
    return (at < before) & ~exists().where(RUNS.c.id == table.c.run_id)


async def _settle_lost(engine: AsyncEngine, now: int) -> int:
    async with writing(engine).begin() as connection:
        return await connection.run_sync(sweep, None, now)


async def _remove_spending(engine: AsyncEngine, before: int) -> int:
    over = _over(_orphaned(SPENDING, SPENDING.c.created_at, before), before)
    # Calls lock budgets one after the other: to wait for one here could make two wait for each other.
    query = select(SPENDING.c.scope).where(over).limit(BUDGETS_AT_ONCE).with_for_update(skip_locked=True)
    async with writing(engine).begin() as connection:
        scopes: Sequence[str] = (await connection.execute(query)).scalars().all()
        return await _delete(connection, SPENDING, SPENDING.c.scope.in_(scopes)) if scopes else 0


def _over(run_gone: ColumnElement[bool], before: int) -> ColumnElement[bool]:
    """Say which budgets cannot count any more: their run is gone, or their period long over, and no call holds some."""
    c = SPENDING.c
    free = and_(c.reserved_money == 0, c.reserved_tokens == 0)
    return free & or_(and_(c.run_id.is_not(None), run_gone), c.ends_at < before)


async def _delete(connection: AsyncConnection, table: Table, where: ColumnElement[bool]) -> int:
    return (await connection.execute(delete(table).where(where))).rowcount


async def _count(connection: AsyncConnection, before: int, now: int) -> Removed:
    old = select(RUNS.c.id).where(RUNS.c.finished_at < before)

    async def count(table: Table, where: ColumnElement[bool]) -> int:
        return (await connection.execute(select(func.count()).select_from(table).where(where))).scalar_one()

    besides = {
        "results": RESULTS.c.expires_at <= now,
        "answers": _orphaned(ANSWERS, ANSWERS.c.created_at, before),
        "deltas": _orphaned(DELTAS, DELTAS.c.at, before),
        "messages": _orphaned(THREADS, THREADS.c.created_at, before),
    }
    counts = {
        name: await count(table, or_(table.c.run_id.in_(old), besides.get(name, false())))
        for name, table in _OF_RUN.items()
    }
    run_gone = or_(SPENDING.c.run_id.in_(old), _orphaned(SPENDING, SPENDING.c.created_at, before))
    counts["spending"] = await count(SPENDING, _over(run_gone, before))
    return Removed(runs=await count(RUNS, RUNS.c.finished_at < before), **counts)
