"""The reducer: `open_run` makes the state of a run, `step` takes one thing that happened and says what to do next.

Nothing here performs anything: `step` returns effects for the shell. The state is changed in place and is plain data;
the same state and the same input always give the same state and the same effects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_never

from . import child_runs, deadlines, failing, lifecycle, operate, reuse, stream, turns, windows
from .caching import check_cache
from .checks import check_runnable
from .commands import (
    Approve,
    Begin,
    ChildHeard,
    Deny,
    Dispatch,
    Drain,
    EffectDone,
    EffectFailed,
    GoOn,
    Happened,
    Input,
    Pause,
    Resume,
    Retry,
    SetVariables,
    Stop,
    Submit,
    TimerFired,
    WindowDone,
    WindowFailed,
    WindowPaused,
)
from .errors import NodeError
from .events import FormTimeout, RunPaused, RunResumed, RunStarted
from .graph import Graph
from .inputs import check_inputs
from .machine import Machine
from .nodes.base import FormReply
from .operate import check_command
from .oversize import TOO_LARGE
from .request import RunRequest
from .state import Frame, RunState, Scope
from .timers import RUN_DEADLINE
from .values import ValueType


def open_run(
    graph: Graph, request: RunRequest, run_id: str, now: int, given: Mapping[str, Any] | None = None
) -> RunState:
    """Open a run: check its inputs and fill the pool. Nothing starts before `step` gets `Begin`.

    given: inputs that the graph need not declare.
    now: milliseconds since the epoch, as everywhere in the core.

    Raises:
        InvalidGraph: a node cannot run and is not pinned.
        InvalidInputs: an input is missing or wrong.
    """
    check_runnable(graph, request.pins)
    inputs = check_request(graph, request) if given is None else dict(given)
    reuse.check(graph, request.reuse)
    state = RunState(
        run_id=run_id,
        graph_hash=graph.hash,
        started_at=now,
        options=request.options,
        pins=dict(request.pins),
        frames={"": Frame(scope=_pool(graph, request, inputs, run_id, now))},
        types=_declared(graph),
        flow=graph.name,
        tenant=request.tenant,
        asked=request.asked(),
        reuse=dict(request.reuse),
    )
    m = Machine(graph, state, now)
    m.emit(
        RunStarted,
        run_id=run_id,
        graph_hash=graph.hash,
        inputs=inputs,
        asked=request.besides(),
        graph=graph.name,
        user=request.user,
        tenant=request.tenant,
        forked_from=request.forked_from,
    )
    stream.begin(m)
    return state


def step(graph: Graph, state: RunState, happened: Input, now: int) -> list[Dispatch]:
    """Apply one input to the state and return what to do next.

    Raises:
        CommandRefused: a command does not fit the state; nothing changed.
    """
    m = Machine(graph, state, now)
    if isinstance(happened, Pause | Resume | Stop | Submit | SetVariables | Retry | Approve | Deny):
        check_command(graph, state, happened)
        operate.apply(m, happened)
    elif not state.ended:
        _apply(m, happened)
    if not state.ended:
        _drain(m)
    return m.out


def _apply(m: Machine, happened: Happened) -> None:
    state = m.state
    match happened:
        case Begin():
            deadlines.start_run(m)
            if state.is_window:
                windows.begin_window(m)
            else:
                m.enqueue(state.root, m.graph.root)
        case EffectDone() | EffectFailed():
            _apply_reply(m, happened)
        case Drain():
            state.draining = True
        case GoOn():
            state.draining = False
            if state.pause is None:
                lifecycle.release(m)
        case TimerFired(key=key):
            _apply_timer(m, key)
        case WindowDone(key=key, outcome=outcome):
            windows.close_window(m, key, outcome)
        case WindowFailed(key=key, message=message, error_type=error_type):
            windows.failed_window(m, key, NodeError(message, error_type))
        case WindowPaused(key=key, paused=paused):
            windows.rest(m, key, paused=paused)
        case ChildHeard(news=news):
            child_runs.hear(m, news)
        case _:
            assert_never(happened)


def check_request(graph: Graph, request: RunRequest) -> dict[str, Any]:
    """Check the options of a run, check and convert its inputs.

    Raises:
        InvalidInputs: names the node and the field.
    """
    check_cache(graph, request.options.nodes)
    root = graph.nodes[graph.root]
    variables = getattr(root.data, "variables", None)
    if root.type.name != "start" or variables is None:
        return dict(request.inputs)
    return check_inputs(variables, request.inputs, root.id)


def _apply_reply(m: Machine, happened: EffectDone | EffectFailed) -> None:
    place = m.state.tasks.pop(happened.key, None)
    m.state.children.pop(happened.key, None)
    if place is None:
        return
    frame = m.state.frames[place.frame]
    node = m.graph.nodes[place.node]
    if place.name:
        turns.came_back(m, frame, node, place.name, happened)
    elif isinstance(happened, EffectDone):
        run, meta = frame.nodes[node.id], happened.reply.meta
        # All effects of the attempt, or something was performed after all.
        run.cached = (run.cached or run.asked <= 1) and meta is not None and meta.cached
        lifecycle.resume(m, frame, node, happened.reply)
    else:
        error = NodeError(happened.message, happened.error_type)
        frame.nodes[node.id].cached = False
        if happened.interrupted:
            failing.interrupt(m, frame, node, frame.nodes[node.id], error)
        elif happened.refused:
            failing.refuse(m, frame, node, frame.nodes[node.id], error)
        else:
            # Another attempt would be as large.
            failing.fail(m, frame, node, frame.nodes[node.id], error, final=happened.error_type == TOO_LARGE)


def _apply_timer(m: Machine, key: str) -> None:
    state = m.state
    if key == RUN_DEADLINE:
        deadlines.expire_run(m)
    elif (place := state.limits.pop(key, None)) is not None:
        deadlines.expire_node(m, place)
    elif (place := state.deadlines.pop(key, None)) is not None:
        m.emit_node(FormTimeout, state.frames[place.frame], m.graph.nodes[place.node], key=key)
        lifecycle.answer_form(m, key, FormReply(action=None))
    elif (place := state.timers.pop(key, None)) is not None:
        state.ready.append((place.frame, place.node))


def _drain(m: Machine) -> None:
    """Start ready nodes, first come first served, within the limit; then settle the status of the run."""
    state = m.state
    while state.ready and not state.halted and state.in_flight < state.options.max_parallel:
        frame_id, node_id = reuse.next_ready(state) or state.ready.popleft()
        frame = state.frames.get(frame_id)
        if frame is not None:
            lifecycle.start(m, frame, m.graph.nodes[node_id])
    if not state.ended:
        _settle_status(m)


def _settle_status(m: Machine) -> None:
    state = m.state
    if state.pause is not None:
        status = "pausing" if state.busy else "paused"
    elif state.asks and not (state.ready or state.timers or state.held or state.busy):
        status = "paused"
    else:
        status = "running"
    was, state.status = state.status, status
    if status == "paused" and was != "paused":
        m.emit(RunPaused, reasons=reasons(m.graph, state))
    elif was == "paused" and status != "paused":
        m.emit(RunResumed)


def reasons(graph: Graph, state: RunState) -> list[dict[str, Any]]:
    """Say why a run is paused: a command, the forms it waits for, the nodes that wait for an operator."""
    found: list[dict[str, Any]] = []
    if state.pause is not None:
        found.append({"type": "scheduled_pause", "message": state.pause})
    for form in child_runs.open_forms(graph, state):
        found.append({"type": "human_input_required", "key": form.key, "node_id": form.node_id})
    for held in child_runs.held_nodes(graph, state):
        found.append(
            {
                "type": "node_held",
                "key": held.key,
                "node_id": held.node_id,
                "message": held.failure.message,
                "error_type": held.failure.error_type,
                "reason": held.failure.reason,
            }
        )
    return found


def _pool(graph: Graph, request: RunRequest, inputs: dict[str, Any], run_id: str, now: int) -> Scope:
    system: dict[str, Any] = {
        "files": list(request.files),
        "user_id": request.user,
        "app_id": graph.name,
        "workflow_id": graph.hash,
        "workflow_run_id": run_id,
        "timestamp": now // 1000,
    }
    if graph.document.mode == "advanced-chat":
        system |= {"query": request.query or "", "conversation_id": run_id, "dialogue_count": 1}
    elif request.query is not None:
        system["query"] = request.query
    system |= request.sysvars
    conversation = {v.name: v.value for v in graph.document.conversation} | request.conversation
    return {
        "sys": system,
        "env": {v.name: v.value for v in graph.document.environment},
        "conversation": conversation,
        graph.root: dict(inputs),
    }


def _declared(graph: Graph) -> dict[str, dict[str, ValueType]]:
    return {
        "env": {v.name: v.value_type for v in graph.document.environment},
        "conversation": {v.name: v.value_type for v in graph.document.conversation},
    }
