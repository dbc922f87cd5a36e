"""Pieces of answers on their way, for those who read along."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from .database import plain
from .items import Deltas
from .ledger_records import DeltaRow
from .ledger_tables import DELTAS
from .statements import insert_missing

_FIELDS = tuple(field.name for field in fields(DeltaRow))
_TEXTS = ("run_id", "scope", "key", "node_id", "frame", "selector")


def write_deltas(connection: Connection, items: Iterable[Deltas]) -> set[str]:
    """Write pieces; one that is there already stays as it is. Gives the runs they belong to."""
    rows = {
        (row.run_id, row.scope, row.key, row.epoch, row.n): _values(row, item.at) for item in items for row in item.rows
    }
    if not rows:
        return set()
    # Always in one order, so that two writers of the same pieces do not wait for each other.
    connection.execute(insert_missing(DELTAS, connection.dialect.name), [rows[key] for key in sorted(rows)])
    return {row["run_id"] for row in rows.values()}


def deltas(
    connection: Connection, run_id: str, scope: str, key: str, min_epoch: int, after_n: int, limit: int
) -> list[DeltaRow]:
    """Give pieces of an answer in their order: of `min_epoch` those after number `after_n`, of later ones all."""
    c = DELTAS.c
    new = or_(c.epoch > min_epoch, and_(c.epoch == min_epoch, c.n > after_n))
    of = (c.run_id == run_id, c.scope == scope, c.key == key)
    query = select(*(c[name] for name in _FIELDS)).where(*of, new).order_by(c.epoch, c.n).limit(limit)
    return [DeltaRow(**row) for row in connection.execute(query).mappings()]


def _values(row: DeltaRow, at: int) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in _FIELDS}
    return values | {name: plain(values[name]) for name in _TEXTS} | {"at": at}
