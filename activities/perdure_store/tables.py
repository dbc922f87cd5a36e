"""The tables. Times are milliseconds since the epoch; `seq` columns guard what is derived from events against old ones.

Whoever changes a table writes a migration; a test compares both.
"""

# No `from __future__ import annotations`: SQLModel reads the annotations of its fields when the class is made.

from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, MetaData, Text, UniqueConstraint
from sqlmodel import Field, SQLModel

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = dict[str, Any]


class Table(SQLModel):
    """Root of our tables; they have metadata of their own, so that a user's models never mix with them."""

    metadata: ClassVar[MetaData] = METADATA  # pyright: ignore[reportIncompatibleVariableOverride]


def _text(*, key: bool = False, null: bool = False) -> Any:
    default = None if null else ""
    return Field(default=default, sa_column=Column(Text, primary_key=key, nullable=null))


def _run_id() -> Any:
    return Field(sa_column=Column(Text, ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True))


def _big(*, key: bool = False, null: bool = False) -> Any:
    column = Column(BigInteger, primary_key=key, nullable=null, autoincrement=False)
    return Field(default=None if null else 0, sa_column=column)


def _json() -> Any:
    return Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))


class Run(Table, table=True):
    """One run. `seq` is the event that decided the status, `started_seq` the one that began it (0: not recorded yet).

    last_seq: highest number of the run's own events. last_position: how many events of all scopes are recorded.
    """

    __tablename__: ClassVar[Any] = "runs"
    __table_args__: ClassVar[Any] = (
        Index(None, "started_at", "id"),
        Index(None, "graph", "started_at"),
        Index(None, "finished_at"),
    )

    id: str = _text(key=True)
    graph: str = _text()
    graph_hash: str = _text()
    user: str = _text()
    tenant: str = _text()
    status: str = _text()
    inputs: Json | None = _json()
    outputs: Json | None = _json()
    error: str | None = _text(null=True)
    error_type: str | None = _text(null=True)
    error_node: str | None = _text(null=True)
    forked_from: str | None = _text(null=True)
    started_at: int | None = _big(null=True)
    finished_at: int | None = _big(null=True)
    elapsed: float | None = None
    steps: int = _big()
    exceptions: int = _big()
    seq: int = _big()
    started_seq: int = _big()
    last_seq: int = _big()
    last_position: int = _big()


class NodeExecution(Table, table=True):
    """The last execution of a node in a frame; those before it are in the events. `seq` decided the status."""

    __tablename__: ClassVar[Any] = "node_executions"

    run_id: str = _run_id()
    scope: str = _text(key=True)
    frame: str = _text(key=True)
    node_id: str = _text(key=True)
    title: str = _text()
    type: str = _text()
    status: str = _text()
    inputs: Json | None = _json()
    outputs: Json | None = _json()
    handle: str | None = _text(null=True)
    error: str | None = _text(null=True)
    error_type: str | None = _text(null=True)
    started_at: int | None = _big(null=True)
    finished_at: int | None = _big(null=True)
    elapsed: float | None = None
    attempts: int = _big()
    cached: bool = False
    reused: bool = False
    seq: int = _big()


class EventRow(Table, table=True):
    """One event as it was emitted, in `data`. `position` numbers the events of all scopes of a run, without gaps."""

    __tablename__: ClassVar[Any] = "events"
    __table_args__: ClassVar[Any] = (UniqueConstraint("run_id", "position"),)

    run_id: str = _run_id()
    scope: str = _text(key=True)
    seq: int = _big(key=True)
    position: int = _big()
    at: int = _big()
    type: str = _text()
    node_id: str = _text()
    frame: str = _text()
    data: Json = Field(sa_column=Column(JSON, nullable=False))


class Wait(Table, table=True):
    """What a run asks people: a form, or what to do with a held node. Open while `opened_seq` is above `closed_seq`."""

    __tablename__: ClassVar[Any] = "waits"

    run_id: str = _run_id()
    scope: str = _text(key=True)
    key: str = _text(key=True)
    kind: str = _text(key=True)
    node_id: str = _text()
    title: str = _text()
    frame: str = _text()
    asked: Json | None = _json()
    opened_at: int | None = _big(null=True)
    expires_at: int | None = _big(null=True)
    opened_seq: int = _big()
    closed_at: int | None = _big(null=True)
    how: str | None = _text(null=True)
    closed_seq: int = _big()


class Blob(Table, table=True):
    """A large value that a worker put into the blob store for a run; `bytes` as stored."""

    __tablename__: ClassVar[Any] = "blobs"
    __table_args__: ClassVar[Any] = (Index(None, "key"),)

    run_id: str = _text(key=True)
    key: str = _text(key=True)
    bytes: int = _big()
    created_at: int = _big()


class Result(Table, table=True):
    """A reply kept for equal requests within a scope."""

    __tablename__: ClassVar[Any] = "results"
    __table_args__: ClassVar[Any] = (Index(None, "expires_at"), Index(None, "run_id"))

    scope: str = _text(key=True)
    key: str = _text(key=True)
    run_id: str = _text()
    reply: Json = Field(sa_column=Column(JSON, nullable=False))
    created_at: int = _big()
    expires_at: int = _big()


RUNS = METADATA.tables["runs"]
NODES = METADATA.tables["node_executions"]
EVENTS = METADATA.tables["events"]
WAITS = METADATA.tables["waits"]
BLOBS = METADATA.tables["blobs"]
RESULTS = METADATA.tables["results"]
