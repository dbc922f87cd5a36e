"""Answers that were paid for: kept under the key of their effect, in the transaction that settles them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, bindparam, select

from .database import short
from .ledger_tables import ANSWERS
from .statements import insert_new

_FIND = select(ANSWERS.c.answer).where(ANSWERS.c.key == bindparam("of"))


def answer(connection: Connection, key: str) -> dict[str, Any] | None:
    """Find an answer."""
    return connection.execute(_FIND, {"of": short(key)}).scalar_one_or_none()


def keep(connection: Connection, key: str, run_id: str, found: dict[str, Any], now: int) -> None:
    """Keep an answer; the first that was kept under a key stays."""
    insert_new(connection, ANSWERS, {"key": short(key), "run_id": run_id, "answer": found, "created_at": now})
