"""The tables of agents: the threads of their runs, and what they remember of users.

Rows of a thread name their run without a foreign key: they may be written before its first event is recorded.
"""

# No `from __future__ import annotations`: SQLModel reads the annotations of its fields when the class is made.

from typing import Any, ClassVar

from sqlalchemy import Index

from .columns import METADATA, Json, Table, big_column, json_column, text_column


class ThreadMessage(Table, table=True):
    """One message of a thread, by its place; what stays the same for a whole thread is at -1."""

    __tablename__: ClassVar[Any] = "thread_messages"
    __table_args__: ClassVar[Any] = (Index(None, "run_id"),)

    thread: str = text_column(key=True)
    position: int = big_column(key=True)
    run_id: str = text_column()
    message: Json = json_column(null=False)
    created_at: int = big_column()


class Memory(Table, table=True):
    """A fact that an agent is to remember of a user; `updated_at` is when it was last told."""

    __tablename__: ClassVar[Any] = "memories"
    __table_args__: ClassVar[Any] = (Index(None, "tenant", "user", "agent", "updated_at"),)

    id: str = text_column(key=True)
    tenant: str = text_column()
    user: str = text_column()
    agent: str = text_column()
    fact: str = text_column()
    created_at: int = big_column()
    updated_at: int = big_column()


THREADS = METADATA.tables["thread_messages"]
MEMORIES = METADATA.tables["memories"]
