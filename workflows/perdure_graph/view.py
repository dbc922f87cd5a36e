"""What a run shows of itself: the answers to the queries `status` and `events`. Plain JSON on the wire."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from . import child_runs
from .events import Event, HoldReason, TextStream
from .graph import Graph
from .nodes.base import Form
from .request import RunError, RunResult, RunStatus
from .sizes import size_of
from .state import IterationRun, LoopRun, NodeRun, RunState
from .step import reasons
from .streams import open_stream

PAGE_EVENTS = 500
# A query answer may hold 2 MiB; a page keeps well below, and so does every single event.
PAGE_BYTES = 1_000_000
EVENT_BYTES = 500_000
_VALUES = ("inputs", "asked", "outputs", "process_data", "value", "text")

# Set around a query by a worker that does not know whether what came last will stay as it is; see its `runner`.
NEWEST_IN_DOUBT: ContextVar[bool] = ContextVar("newest_in_doubt", default=False)


class NodeView(BaseModel):
    """One node in one frame; `done` of `total` items or rounds for containers."""

    model_config = ConfigDict(frozen=True)

    key: str
    node_id: str
    title: str
    node_type: str
    status: str
    attempt: int
    done: int | None = None
    total: int | None = None


class FormView(BaseModel):
    """An open form; answer it with `submit(key, action, values)`, one that asks for approval with `approve` or `deny`.

    One of a child has the key of the effect that the child performs before its own, behind a slash; `node_id` is then
    that of the node of this run.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    node_id: str
    title: str
    form: Form


class HeldView(BaseModel):
    """A node that waits for an operator; answer it with `retry(key)`, `retry(key, outputs)` or `stop`.

    key: as that of a form; of one effect of a node, where only that waits: then `outputs` do not fit.
    reason: see `NodeHeld`.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    node_id: str
    title: str
    reason: HoldReason
    error: str
    error_type: str


class RunView(BaseModel):
    """The state of a run at one moment.

    started_at: in milliseconds since the epoch, as all times here; `elapsed` in seconds. A run that only waits knows
        no newer time than that of its last step, so a client counts on from `started_at`.
    deadline_at: when the run fails if it has not ended.
    waiting_for_worker: whether nobody polls a task queue that the run needs; `queues` names it. Workers cannot know,
        so this is found out by the client.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    graph: str
    graph_hash: str
    status: RunStatus
    reasons: list[dict[str, Any]]
    forms: list[FormView]
    held: list[HeldView] = []
    nodes: list[NodeView]
    outputs: dict[str, Any]
    error: RunError | None
    exceptions_count: int
    steps: int
    seq: int
    started_at: int
    elapsed: float
    deadline_at: int | None = None
    waiting_for_worker: bool = False
    queues: list[str] = []


class EventPage(BaseModel):
    """Events after a number, oldest first. `ended` says that none will follow the last of `events`.

    held: whether there are more that are not shown yet, because their order may still change; ask again.
    first: number of the oldest event that the run still keeps; older ones are in the run store only.
    open: the stream that was open before `events`: whoever goes on from there may have been shown some of it.
    """

    model_config = ConfigDict(frozen=True)

    events: list[SerializeAsAny[Event]]
    ended: bool
    held: bool = False
    first: int = 1
    open: TextStream | None = None


def view(graph: Graph, state: RunState, now: int) -> RunView:
    """Show a run: its open forms, the nodes that wait for an operator, and the nodes in every open frame."""
    nodes = [
        _node_view(graph, frame.id, node_id, run)
        for frame in state.frames.values()
        for node_id, run in frame.nodes.items()
        if not graph.nodes[node_id].type.hidden
    ]
    forms = [
        FormView(key=form.key, node_id=form.node_id, title=form.title, form=form.form)
        for form in child_runs.open_forms(graph, state)
    ]
    held = [
        HeldView(
            key=held.key,
            node_id=held.node_id,
            title=held.title,
            reason=held.failure.reason,
            error=held.failure.message,
            error_type=held.failure.error_type,
        )
        for held in child_runs.held_nodes(graph, state)
    ]
    return RunView(
        run_id=state.run_id,
        graph=graph.name,
        graph_hash=state.graph_hash,
        status=state.status,
        reasons=reasons(graph, state),
        forms=forms,
        held=held,
        nodes=nodes,
        outputs=state.outputs,
        error=state.error,
        exceptions_count=state.exceptions_count,
        steps=state.steps,
        seq=state.seq,
        started_at=state.started_at,
        elapsed=state.elapsed if state.ended else (now - state.started_at) / 1000,
        deadline_at=state.expires_at,
    )


def _node_view(graph: Graph, frame: str, node_id: str, run: NodeRun) -> NodeView:
    node = graph.nodes[node_id]
    done = total = None
    if isinstance(run.container, IterationRun):
        done, total = len(run.container.results) + len(run.container.dropped), len(run.container.items)
    elif isinstance(run.container, LoopRun):
        done, total = run.container.round, getattr(node.data, "loop_count", None)
    return NodeView(
        key=frame + node_id,
        node_id=node_id,
        title=node.title,
        node_type=node.type.name,
        status=run.status,
        attempt=run.attempt,
        done=done,
        total=total,
    )


def events_after(state: RunState, after: int, held_from: int | None = None) -> EventPage:
    """Give one page of events whose number is greater than `after`.

    held_from: those of this time, milliseconds since the epoch, or later ones are held back.
    """
    first = state.seq - len(state.events)
    start = max(0, after - first)
    page: list[Event] = []
    total = 0
    held = False
    for event in state.events[start : start + PAGE_EVENTS]:
        held = held_from is not None and event.at >= held_from
        if held:
            break
        size = size_of([getattr(event, name, None) for name in _VALUES])
        shown = event if size <= EVENT_BYTES else _without_values(event, size)
        total += min(size, EVENT_BYTES)
        if page and total > PAGE_BYTES:
            break
        page.append(shown)
    over = state.ended and not held and start + len(page) >= len(state.events)
    before = open_stream(state.events[:start]) if after and state.stream.writers else None
    return EventPage(events=page, ended=over, held=held, first=first + 1, open=before)


def _without_values(event: Event, size: int) -> Event:
    """Leave out the values of an event that is too large to show; they stay readable as variables."""
    note = {"truncated": f"{size:,} bytes"}
    values = set(_VALUES) & set(type(event).model_fields)
    return event.model_copy(update={name: note["truncated"] if name == "text" else note for name in values})


def result(state: RunState) -> RunResult:
    """Sum up a run that has ended."""
    return RunResult(
        run_id=state.run_id,
        status=state.status,
        outputs={} if state.status == "failed" else state.outputs,
        error=state.error,
        exceptions_count=state.exceptions_count,
        steps=state.steps,
        elapsed=state.elapsed,
        conversation=state.conversation,
    )
