"""What one transaction of the writer does: new events get positions, and what is derived from them is brought up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, bindparam, case, select, text, tuple_

from .database import plain
from .delta_rows import write_deltas
from .derive import MERGES, Row, new_run, patches, text_of
from .derive import Table as Derived
from .items import Batch, Deltas, Item, Keep, Note
from .statements import insert_into, insert_missing
from .tables import BLOBS, EVENTS, METADATA, RESULTS, RUNS

CHANNEL = "perdure_events"

_NOTIFY = text(f"SELECT pg_notify('{CHANNEL}', :run)")
_INSERT = EVENTS.insert()
_KEY = (EVENTS.c.run_id, EVENTS.c.scope, EVENTS.c.seq)
_KNOWN = select(*_KEY).where(tuple_(*_KEY).in_(bindparam("keys", expanding=True)))


def write(connection: Connection, items: Sequence[Item]) -> None:
    """Write items of all kinds, in the transaction of the connection."""
    batches = [item for item in items if isinstance(item, Batch) and item.events]
    if batches:
        _write_events(connection, batches)
    if kept := {(item.scope, item.key): item for item in items if isinstance(item, Keep)}:
        _keep(connection, kept.values())
    if notes := {(item.run_id, item.key): item for item in items if isinstance(item, Note)}:
        _note(connection, notes.values())
    if deltas := [item for item in items if isinstance(item, Deltas)]:
        _tell(connection, write_deltas(connection, deltas))


def _write_events(connection: Connection, batches: Sequence[Batch]) -> None:
    positions = _lock_runs(connection, batches)
    known = _known(connection, batches)
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
    connection.execute(_INSERT, rows)
    derived["runs"] += touched.values()
    for name, patched in derived.items():
        if patched:
            connection.execute(_merge(name, connection.dialect.name), patched)
    _tell(connection, touched)


def _tell(connection: Connection, runs: Iterable[str]) -> None:
    """Wake those who follow runs."""
    told = [{"run": run_id} for run_id in runs]
    if told and connection.dialect.name == "postgresql":
        connection.execute(_NOTIFY, told)


def _lock_runs(connection: Connection, batches: Sequence[Batch]) -> dict[str, int]:
    """Lock the rows of runs, making those that are missing, and give their last positions.

    Always in the order of their ids: two writers that lock the same runs must not wait for each other.
    """
    fresh = {batch.run_id: new_run(batch.run_id, batch.flow, batch.tenant) for batch in batches}
    rows = [fresh[run_id] for run_id in sorted(fresh)]
    found = connection.execute(_lock(connection.dialect.name), rows if len(rows) > 1 else rows[0])
    return {row.id: row.last_position for row in found}


@lru_cache
def _lock(dialect: str) -> Any:
    """Write the statement that makes rows of runs, and locks and gives those that are there."""
    insert = insert_into(RUNS, dialect)
    same = insert.on_conflict_do_update(index_elements=["id"], set_={"last_position": RUNS.c.last_position})
    return same.returning(RUNS.c.id, RUNS.c.last_position)


def _known(connection: Connection, batches: Sequence[Batch]) -> set[tuple[str, str, int]]:
    keys = [(batch.run_id, batch.scope, event["seq"]) for batch in batches for event in batch.events]
    return {(row.run_id, row.scope, row.seq) for row in connection.execute(_KNOWN, {"keys": keys})}


def _event_row(batch: Batch, event: Row, position: int) -> Row:
    return {
        "run_id": batch.run_id,
        "scope": batch.scope,
        "seq": event["seq"],
        "position": position,
        "at": event["at"],
        "type": event["type"],
        "node_id": text_of(event, "node_id"),
        "frame": text_of(event, "frame"),
        "data": event,
    }


def _keep(connection: Connection, kept: Iterable[Keep]) -> None:
    insert = insert_into(RESULTS, connection.dialect.name)
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
    connection.execute(statement, rows)


def _note(connection: Connection, notes: Iterable[Note]) -> None:
    rows = [
        {"run_id": note.run_id, "key": note.key, "bytes": note.bytes, "created_at": note.created_at}
        for note in sorted(notes, key=lambda note: (note.run_id, note.key))
    ]
    connection.execute(insert_missing(BLOBS, connection.dialect.name), rows)


@lru_cache
def _merge(name: Derived, dialect: str) -> Any:
    """Write the statement that brings a row up with a patch, as `MERGES` says."""
    merge, table = MERGES[name], METADATA.tables[name]
    insert = insert_into(table, dialect)
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
