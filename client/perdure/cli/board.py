"""What the progress of a run looks like, without saying how it is shown: one row per node, fed with events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from perdure_graph.events import (
    ContainerCompleted,
    ContainerStarted,
    Event,
    FormFilled,
    FormRequired,
    FormTimeout,
    NodeFinished,
    NodeHeld,
    NodeRetry,
    NodeStarted,
)
from perdure_graph.request import RunStatus
from perdure_graph.view import RunView

State = Literal["running", "retrying", "waiting", "held", "succeeded", "exception", "failed", "cut short"]
OPEN: frozenset[State] = frozenset({"running", "retrying", "waiting", "held"})
_NODE_EVENTS = (
    NodeStarted
    | NodeRetry
    | NodeFinished
    | NodeHeld
    | ContainerStarted
    | ContainerCompleted
    | FormRequired
    | FormFilled
    | FormTimeout
)


@dataclass(slots=True)
class Row:
    """One node. Within containers it stands for all its runs: `runs` counts the finished ones."""

    node_id: str
    title: str
    kind: str
    depth: int
    state: State = "running"
    started_at: int = 0
    elapsed: float = 0.0
    attempts: int = 1
    active: int = 0
    runs: int = 0
    done: int | None = None
    total: int | None = None
    note: str = ""


@dataclass(slots=True)
class Board:
    """All rows, in the order in which the nodes first started."""

    rows: dict[str, Row] = field(default_factory=dict[str, Row])

    @property
    def counts(self) -> bool:
        """Whether a container runs, whose count of items only the status of the run tells."""
        return any(row.total is not None and row.state in OPEN for row in self.rows.values())

    def apply(self, event: Event) -> Row | None:
        """Take in an event; gives the row that it changed."""
        if not isinstance(event, _NODE_EVENTS):
            return None
        row = self.rows.get(event.node_id)
        if row is None:
            depth = event.frame.count("].")
            row = self.rows[event.node_id] = Row(event.node_id, event.title, event.node_type, depth)
        _change(row, event)
        return row

    def count(self, view: RunView) -> list[Row]:
        """Take in how far the containers of the top frame are; gives the rows that changed."""
        changed: list[Row] = []
        for node in view.nodes:
            row = self.rows.get(node.node_id)
            if row is None or node.key != node.node_id or node.done is None or row.state not in OPEN:
                continue
            if (row.done, row.total) != (node.done, node.total):
                row.done, row.total = node.done, node.total
                changed.append(row)
        return changed

    def close(self, status: RunStatus) -> None:
        """Settle what never ended: nodes that a stop or a failure cut short."""
        for row in self.rows.values():
            if row.state in OPEN and status in ("failed", "stopped"):
                row.state = "cut short"


def _change(row: Row, event: _NODE_EVENTS) -> None:
    match event:
        case NodeStarted() | ContainerStarted():
            row.state, row.started_at = "running", event.at if not row.active else row.started_at
            row.active += 1
            if isinstance(event, ContainerStarted):
                row.done, row.total = 0, event.length
        case NodeRetry():
            row.state, row.note = "retrying", event.error
            row.attempts = event.retry_index + 1
        case FormRequired():
            row.state = "waiting"
        case NodeHeld():
            # After a failure its end was counted; an interrupted node starts anew without one.
            row.active -= 1 if event.reason != "failed" and row.active else 0
            row.state, row.note = "held", event.error
        case FormFilled() | FormTimeout():
            row.state = "running"
        case NodeFinished() | ContainerCompleted():
            _finish(row, event)


def _finish(row: Row, event: NodeFinished | ContainerCompleted) -> None:
    row.active = max(0, row.active - 1)
    row.runs += 1
    row.elapsed += event.elapsed
    row.note = event.error or ""
    row.state = "running" if row.active else event.status
    if isinstance(event, NodeFinished):
        row.attempts = max(event.attempts, 1)
    elif event.status == "succeeded" and row.kind == "iteration":
        row.done = row.total
