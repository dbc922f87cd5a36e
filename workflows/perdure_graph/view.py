"""What a run shows of itself: the answers to the queries `status` and `events`. Plain JSON on the wire."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from .events import Event
from .graph import Graph
from .nodes.base import Form
from .request import RunError, RunResult, RunStatus
from .state import IterationRun, LoopRun, NodeRun, RunState
from .step import reasons

PAGE_EVENTS = 500
# A query answer may hold 2 MiB; a page keeps well below, and so does every single event.
PAGE_BYTES = 1_000_000
EVENT_BYTES = 500_000


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
    """An open form; answer it with `submit(key, action, values)`."""

    model_config = ConfigDict(frozen=True)

    key: str
    node_id: str
    title: str
    form: Form


class RunView(BaseModel):
    """The state of a run at one moment."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    graph: str
    graph_hash: str
    status: RunStatus
    reasons: list[dict[str, Any]]
    forms: list[FormView]
    nodes: list[NodeView]
    outputs: dict[str, Any]
    error: RunError | None
    exceptions_count: int
    steps: int
    seq: int
    elapsed: float


class EventPage(BaseModel):
    """Events after a number, oldest first. `ended` says that none will follow the last of `events`."""

    model_config = ConfigDict(frozen=True)

    events: list[SerializeAsAny[Event]]
    ended: bool


def view(graph: Graph, state: RunState, now: int) -> RunView:
    """Show a run: its open forms, and its nodes in every open frame."""
    nodes = [
        _node_view(graph, frame.id, node_id, run)
        for frame in state.frames.values()
        for node_id, run in frame.nodes.items()
        if not graph.nodes[node_id].type.hidden
    ]
    forms = [
        FormView(key=key, node_id=place.node, title=graph.nodes[place.node].title, form=form)
        for key, place in state.waiting.items()
        if (form := state.frames[place.frame].nodes[place.node].form) is not None
    ]
    return RunView(
        run_id=state.run_id,
        graph=graph.name,
        graph_hash=state.graph_hash,
        status=state.status,
        reasons=reasons(state),
        forms=forms,
        nodes=nodes,
        outputs=state.outputs,
        error=state.error,
        exceptions_count=state.exceptions_count,
        steps=state.steps,
        seq=state.seq,
        elapsed=state.elapsed if state.ended else (now - state.started_at) / 1000,
    )


def _node_view(graph: Graph, frame: str, node_id: str, run: NodeRun) -> NodeView:
    node = graph.nodes[node_id]
    done = total = None
    if isinstance(run.container, IterationRun):
        done, total = run.container.next - run.container.active, len(run.container.items)
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


def events_after(state: RunState, after: int) -> EventPage:
    """Give one page of events whose number is greater than `after`."""
    first = state.seq - len(state.events)
    start = max(0, after - first)
    page: list[Event] = []
    total = 0
    for event in state.events[start : start + PAGE_EVENTS]:
        size = len(event.model_dump_json())
        shown = event if size <= EVENT_BYTES else _without_values(event, size)
        total += min(size, EVENT_BYTES)
        if page and total > PAGE_BYTES:
            break
        page.append(shown)
    return EventPage(events=page, ended=state.ended and start + len(page) >= len(state.events))


def _without_values(event: Event, size: int) -> Event:
    """Leave out the values of an event that is too large to show; they stay readable as variables."""
    note = {"truncated": f"{size:,} bytes"}
    values = {"inputs", "outputs", "process_data", "value", "text"} & set(type(event).model_fields)
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
