"""The tables. Times are milliseconds since the epoch; `seq` columns guard what is derived from events against old ones.

Whoever changes a table writes a migration; a test compares both.
"""

# No `from __future__ import annotations`: SQLModel reads the annotations of its fields when the class is made.

from typing import Any, ClassVar

from sqlalchemy import JSON, Column, Index, UniqueConstraint
from sqlmodel import Field

from . import agent_tables as agent_tables  # noqa: PLC0414 - one metadata holds all tables
from . import ledger_tables as ledger_tables  # noqa: PLC0414 - one metadata holds all tables
from .columns import METADATA, Json, Table, big_column, json_column, run_column, text_column


class Run(Table, table=True):
    """One run. `seq` is the event that decided the status, `started_seq` the one that began it (0: not recorded yet).

    last_seq: highest number of the run's own events. last_position: how many events of all scopes are recorded.
    conversation_id, query: of a run that is a turn of a conversation, else empty.
    """

    __tablename__: ClassVar[Any] = "runs"
    __table_args__: ClassVar[Any] = (
        Index(None, "started_at", "id"),
        Index(None, "graph", "started_at"),
        Index(None, "finished_at"),
        Index(None, "conversation_id", "started_at"),
    )

    id: str = text_column(key=True)
    graph: str = text_column()
    graph_hash: str = text_column()
    user: str = text_column()
    tenant: str = text_column()
    status: str = text_column()
    inputs: Json | None = json_column()
    outputs: Json | None = json_column()
    error: str | None = text_column(null=True)
    error_type: str | None = text_column(null=True)
    error_node: str | None = text_column(null=True)
    forked_from: str | None = text_column(null=True)
    started_at: int | None = big_column(null=True)
    finished_at: int | None = big_column(null=True)
    elapsed: float | None = None
    steps: int = big_column()
    exceptions: int = big_column()
    seq: int = big_column()
    started_seq: int = big_column()
    last_seq: int = big_column()
    last_position: int = big_column()
    conversation_id: str = text_column()
    query: str = text_column()


class NodeExecution(Table, table=True):
    """The last execution of a node in a frame; those before it are in the events. `seq` decided the status."""

    __tablename__: ClassVar[Any] = "node_executions"

    run_id: str = run_column()
    scope: str = text_column(key=True)
    frame: str = text_column(key=True)
    node_id: str = text_column(key=True)
    title: str = text_column()
    type: str = text_column()
    status: str = text_column()
    inputs: Json | None = json_column()
    outputs: Json | None = json_column()
    handle: str | None = text_column(null=True)
    error: str | None = text_column(null=True)
    error_type: str | None = text_column(null=True)
    started_at: int | None = big_column(null=True)
    finished_at: int | None = big_column(null=True)
    elapsed: float | None = None
    attempts: int = big_column()
    cached: bool = False
    reused: bool = False
    seq: int = big_column()


class EventRow(Table, table=True):
    """One event as it was emitted, in `data`. `position` numbers the events of all scopes of a run, without gaps."""

    __tablename__: ClassVar[Any] = "events"
    __table_args__: ClassVar[Any] = (UniqueConstraint("run_id", "position"),)

    run_id: str = run_column()
    scope: str = text_column(key=True)
    seq: int = big_column(key=True)
    position: int = big_column()
    at: int = big_column()
    type: str = text_column()
    node_id: str = text_column()
    frame: str = text_column()
    data: Json = Field(sa_column=Column(JSON, nullable=False))


class Wait(Table, table=True):
    """What a run asks people: a form, or what to do with a held node. Open while `opened_seq` is above `closed_seq`."""

    __tablename__: ClassVar[Any] = "waits"

    run_id: str = run_column()
    scope: str = text_column(key=True)
    key: str = text_column(key=True)
    kind: str = text_column(key=True)
    node_id: str = text_column()
    title: str = text_column()
    frame: str = text_column()
    asked: Json | None = json_column()
    opened_at: int | None = big_column(null=True)
    expires_at: int | None = big_column(null=True)
    opened_seq: int = big_column()
    closed_at: int | None = big_column(null=True)
    how: str | None = text_column(null=True)
    closed_seq: int = big_column()


class Blob(Table, table=True):
    """A large value that a worker put into the blob store for a run; `bytes` as stored."""

    __tablename__: ClassVar[Any] = "blobs"
    __table_args__: ClassVar[Any] = (Index(None, "key"),)

    run_id: str = text_column(key=True)
    key: str = text_column(key=True)
    bytes: int = big_column()
    created_at: int = big_column()


class Result(Table, table=True):
    """A reply kept for equal requests within a scope."""

    __tablename__: ClassVar[Any] = "results"
    __table_args__: ClassVar[Any] = (Index(None, "expires_at"), Index(None, "run_id"))

    scope: str = text_column(key=True)
    key: str = text_column(key=True)
    run_id: str = text_column()
    reply: Json = Field(sa_column=Column(JSON, nullable=False))
    created_at: int = big_column()
    expires_at: int = big_column()


RUNS = METADATA.tables["runs"]
NODES = METADATA.tables["node_executions"]
EVENTS = METADATA.tables["events"]
WAITS = METADATA.tables["waits"]
BLOBS = METADATA.tables["blobs"]
RESULTS = METADATA.tables["results"]
