"""What one transaction of the writer does: new events get positions, and what is derived from them is brought up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Table, case, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from . import tables
from .database import plain
from .derive import MERGES, Row, new_run, patches, text
from .derive import Table as Derived

CHANNEL = "perdure_events"


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one scope of a run, as they were emitted. `flow` and `tenant` are those of the run."""

    run_id: str
    scope: str
    events: tuple[Row, ...]
    flow: str = ""
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """A reply to keep for equal requests; times in milliseconds since the epoch."""

    scope: str
    key: str
    run_id: str
    reply: Row
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class Note:
    """A large value that was put into the blob store."""

    run_id: str
    key: str
    bytes: int
    created_at: int


Item = Batch | Keep | Note


async def write(connection: AsyncConnection, items: Sequence[Item]) -> None:
    """Write items of all kinds, in the transaction of the connection."""
    batches = [item for item in items if isinstance(item, Batch) and item.events]
    if batches:
        await _write_events(connection, batches)
    if kept := {(item.scope, item.key): item for item in items if isinstance(item, Keep)}:
        await _keep(connection, kept.values())
    if notes := {(item.run_id, item.key): item for item in items if isinstance(item, Note)}:
        await _note(connection, notes.values())


async def _write_events(connection: AsyncConnection, batches: Sequence[Batch]) -> None:
    positions = await _lock_runs(connection, batches)
    known = await _known(connection, batches)
    rows: list[Row] = []
    derived: dict[Derived, list[Row]] = {"runs": [], "node_executions": [], "waits": []}
    touched: dict[str, Row] = {}
    for batch in batches:
        for event in sorted(batch.events, key=lambda event: int(event["seq"])):
            key = (batch.run_id, batch.scope, event["seq"])
            if key in known:
                continue
            known.add(key)
            positions[batch.run_id] += 1
            rows.append(_event_row(batch, event, positions[batch.run_id]))
            for table, patch in patches(batch.run_id, batch.scope, event):
                derived[table].append(patch)
            run = touched.setdefault(batch.run_id, new_run(batch.run_id, "", ""))
            run["last_position"] = positions[batch.run_id]
            run["started_at"] = min(run["started_at"] or event["at"], event["at"])
            if not batch.scope:
                run["last_seq"] = max(run["last_seq"], event["seq"])
    if not rows:
        return
    await connection.execute(tables.EventRow.__table__.insert(), rows)  # pyright: ignore
    derived["runs"] += touched.values()
    for name, patched in derived.items():
        if patched:
            await connection.execute(_merge(name, connection.dialect.name), patched)
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_notify(CHANNEL, func.unnest(sorted(touched)))))


async def _lock_runs(connection: AsyncConnection, batches: Sequence[Batch]) -> dict[str, int]:
    """Lock the rows of runs, making those that are missing, and give their last positions.

    Always in the order of their ids: two writers that lock the same runs must not wait for each other.
    """
    table = _table(tables.Run)
    fresh = {batch.run_id: new_run(batch.run_id, batch.flow, batch.tenant) for batch in batches}
    insert = _insert(table, connection.dialect.name).on_conflict_do_nothing()
    await connection.execute(insert, [fresh[run_id] for run_id in sorted(fresh)])
    query = select(table.c.id, table.c.last_position).where(table.c.id.in_(fresh)).order_by(table.c.id)
    return {run_id: position for run_id, position in await connection.execute(query.with_for_update())}


async def _known(connection: AsyncConnection, batches: Sequence[Batch]) -> set[tuple[str, str, int]]:
    c = _table(tables.EventRow).c
    keys = [(batch.run_id, batch.scope, event["seq"]) for batch in batches for event in batch.events]
    query = select(c.run_id, c.scope, c.seq).where(tuple_(c.run_id, c.scope, c.seq).in_(keys))
    return {(run_id, scope, seq) for run_id, scope, seq in await connection.execute(query)}


def _event_row(batch: Batch, event: Row, position: int) -> Row:
    return {
        "run_id": batch.run_id,
        "scope": batch.scope,
        "seq": event["seq"],
        "position": position,
        "at": event["at"],
        "type": event["type"],
        "node_id": text(event, "node_id"),
        "frame": text(event, "frame"),
        "data": event,
    }


async def _keep(connection: AsyncConnection, kept: Iterable[Keep]) -> None:
    table = _table(tables.Result)
    insert = _insert(table, connection.dialect.name)
    changes = {name: insert.excluded[name] for name in ("run_id", "reply", "created_at", "expires_at")}
    statement = insert.on_conflict_do_update(index_elements=["scope", "key"], set_=changes)
    rows = [
        {
            "scope": plain(item.scope),
            "key": item.key,
            "run_id": item.run_id,
            "reply": item.reply,
            "created_at": item.created_at,
            "expires_at": item.expires_at,
        }
        for item in sorted(kept, key=lambda item: (item.scope, item.key))
    ]
    await connection.execute(statement, rows)


async def _note(connection: AsyncConnection, notes: Iterable[Note]) -> None:
    table = _table(tables.Blob)
    statement = _insert(table, connection.dialect.name).on_conflict_do_nothing()
    rows = [
        {"run_id": note.run_id, "key": note.key, "bytes": note.bytes, "created_at": note.created_at}
        for note in sorted(notes, key=lambda note: (note.run_id, note.key))
    ]
    await connection.execute(statement, rows)


_MODELS: dict[Derived, type[tables.Table]] = {
    "runs": tables.Run,
    "node_executions": tables.NodeExecution,
    "waits": tables.Wait,
}


def _table(model: type[tables.Table]) -> Table:
    return tables.METADATA.tables[str(model.__tablename__)]


def _insert(table: Table, dialect: str) -> Any:
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


@lru_cache
def _merge(name: Derived, dialect: str) -> Any:
    """Write the statement that brings a row up with a patch, as `MERGES` says."""
    merge, table = MERGES[name], _table(_MODELS[name])
    insert = _insert(table, dialect)
    new, old = insert.excluded, table.c
    changes: dict[str, Any] = {}
    for index, (guard, columns) in enumerate(merge.latest.items()):
        wins = new[guard] > old[guard]
        if merge.final and not index:
            wins = old[merge.final].is_(None) & (new[merge.final].is_not(None) | wins)
        changes |= {column: case((wins, new[column]), else_=old[column]) for column in (guard, *columns)}
    for column in merge.least:
        wins = old[column].is_(None) | (new[column] < old[column])
        changes[column] = case((wins, new[column]), else_=old[column])
    for column in merge.greatest:
        wins = old[column].is_(None) | (new[column] > old[column])
        changes[column] = case((wins, new[column]), else_=old[column])
    return insert.on_conflict_do_update(index_elements=list(merge.keys), set_=changes)
