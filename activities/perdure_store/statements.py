"""Statements that both databases know, each in its own dialect."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_into(table: Table, dialect: str) -> Any:
    """Begin an insert that may say what to do `on_conflict`."""
    return (postgresql if dialect == "postgresql" else sqlite).insert(table)


def insert_new(connection: Connection, table: Table, row: dict[str, Any]) -> bool:
    """Insert a row unless there is one with its key; whether it was inserted."""
    key = next(iter(table.primary_key))
    statement = insert_into(table, connection.dialect.name).on_conflict_do_nothing().returning(key)
    return connection.execute(statement, row).first() is not None
