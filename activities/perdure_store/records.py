"""What readers of the store get: frozen plain data. Times are milliseconds since the epoch, `elapsed` is seconds."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from perdure_graph.events import Event

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)

How = Literal["submitted", "timeout", "retried", "given", "dropped", "ended"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class RunRecord(_Record):
    """One run as far as it is recorded. `status` is that of `RunResult`, or `running`, `paused`.

    last_seq: highest number of the run's own events. events: how many are recorded, those of windows included.
    """

    id: str
    graph: str
    graph_hash: str
    user: str
    tenant: str
    status: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    error: str | None
    error_type: str | None
    error_node: str | None
    forked_from: str | None
    started_at: int
    finished_at: int | None
    elapsed: float | None
    steps: int
    exceptions: int
    last_seq: int
    events: int


class NodeRecord(_Record):
    """The last execution of a node in a frame.

    status: `succeeded`, `exception`, `failed`; before that `running`, `retrying`, `waiting`, `held`; `cancelled` for
        what had not ended when the run, or the container around it, did.
    """

    scope: str
    frame: str
    node_id: str
    title: str
    type: str
    status: str
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    handle: str | None
    error: str | None
    error_type: str | None
    started_at: int | None
    finished_at: int | None
    elapsed: float | None
    attempts: int
    cached: bool
    reused: bool


class WaitRecord(_Record):
    """A form, or a held node; open while `closed_at` is None. Answer with `submit(key, ...)` or `retry(key)`.

    asked: the form, or `{reason, error, error_type}` of a held node.
    how: what closed it: `dropped` with the container around it, `ended` with the run.
    """

    run_id: str
    scope: str
    key: str
    kind: Literal["form", "held"]
    node_id: str
    title: str
    asked: dict[str, Any]
    opened_at: int | None
    expires_at: int | None
    closed_at: int | None
    how: How | None


class BlobRecord(_Record):
    """A large value that a worker put into the blob store for a run or one of its windows; `key` is its hash.

    bytes: as stored, compressed and encrypted.
    """

    key: str
    bytes: int
    created_at: int


class Contents(_Record):
    """How much is in a store. `bytes`: what the database takes; `open_runs` have not ended yet."""

    runs: int
    open_runs: int
    nodes: int
    events: int
    waits: int
    blobs: int
    results: int
    answers: int
    deltas: int
    calls: int
    messages: int
    memories: int
    bytes: int


class StoredEvent(_Record):
    """An event of a run or of one of its windows (`scope`). `position` counts the events of all scopes, from 1."""

    position: int
    scope: str
    data: dict[str, Any]

    @property
    def seq(self) -> int:
        """Number of the event within its scope."""
        return int(self.data["seq"])

    @property
    def event(self) -> Event:
        """The event itself."""
        return _EVENT.validate_python(self.data)
