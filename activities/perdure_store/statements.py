"""Statements that both databases know, each in its own dialect.

Those of every call are made once, with parameters: to put a statement together takes longer than to carry it out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(table: Table, dialect: str) -> Any:
    """Begin an insert that may say what to do `on_conflict`."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless there is one with its key; whether it was inserted."""
    return connection.execute(_insert_new(table, connection.dialect.name), row).first() is not None


@lru_cache
def insert_missing(table: Table, dialect: str) -> Any:
    """Insert rows unless there are some with their keys."""
    return insert_into(table, dialect).on_conflict_do_nothing()


@lru_cache
def _insert_new(table: Table, dialect: str) -> Any:
    return insert_missing(table, dialect).returning(next(iter(table.primary_key)))
