"""Rows of threads: the first that is written at a place stays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from .agent_tables import THREADS
from .database import plain, short, to_json
from .statements import insert_new


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


def read(connection: Connection, thread: str, places: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Give those of the messages that there are, by their places, in order."""
    c = THREADS.c
    query = select(c.position, c.message).where(c.thread == short(thread), c.position.in_(places))
    return {row.position: row.message for row in connection.execute(query.order_by(c.position))}
