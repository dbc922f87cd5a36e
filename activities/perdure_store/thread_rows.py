"""Rows of threads: the first that is written at a place stays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from .agent_tables import THREADS
from .database import plain, short, to_json
from .statements import insert_new


@dataclass(frozen=True, slots=True)
class Told:
    """Messages of a thread, from its query on."""

    thread: str = ""
    messages: tuple[dict[str, Any], ...] = ()


def write(
    connection: Connection, thread: str, run_id: str, messages: Mapping[int, dict[str, Any]], now: int
) -> dict[int, dict[str, Any]]:
    """Write messages; gives what stands, different, where one was to be written."""
    whose = {"thread": short(thread), "run_id": plain(run_id), "created_at": now}
    # Always in one order, so that two writers of the same thread do not wait for each other.
    rows = {place: {**whose, "position": place, "message": messages[place]} for place in sorted(messages)}
    taken = [place for place, row in rows.items() if not insert_new(connection, THREADS, row)]
    found = read(connection, thread, taken) if taken else {}
    return {place: there for place, there in found.items() if there != json.loads(to_json(messages[place]))}


def last_of(connection: Connection, work: Mapping[str, str]) -> dict[str, Told]:
    """Give what was said in the last thread of each run, from place 0 on as far as it is there.

    work: for each run what its threads are of; their names are that and a number.
    """
    c = THREADS.c
    begun = select(c.run_id, c.thread).where(c.run_id.in_([plain(run_id) for run_id in work]), c.position == 0)
    last: dict[str, tuple[int, str]] = {}
    for row in connection.execute(begun):
        name, _, number = row.thread.rpartition("/")
        if name == work.get(row.run_id) and number.isdecimal():
            last[row.run_id] = max(last.get(row.run_id, (0, "")), (int(number), row.thread))
    names = {thread: run_id for run_id, (_, thread) in last.items()}
    query = select(c.thread, c.position, c.message).where(c.thread.in_(names), c.position >= 0)
    found: dict[str, list[dict[str, Any]]] = {thread: [] for thread in names}
    for row in connection.execute(query.order_by(c.thread, c.position)):
        if row.position == len(found[row.thread]):
            found[row.thread].append(row.message)
    return {names[thread]: Told(thread, tuple(messages)) for thread, messages in found.items()}


def read(connection: Connection, thread: str, places: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Give those of the messages that there are, by their places, in order."""
    c = THREADS.c
    query = select(c.position, c.message).where(c.thread == short(thread), c.position.in_(places))
    return {row.position: row.message for row in connection.execute(query.order_by(c.position))}
