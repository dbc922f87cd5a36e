"""The reducer: `open_run` makes the state of a run, `step` takes one thing that happened and says what to do next.

Nothing here performs anything: `step` returns effects for the shell. The state is changed in place and is plain data;
the same state and the same input always give the same state and the same effects.
"""

from __future__ import annotations

from typing import Any, assert_never

from . import lifecycle, stream, windows
from .checks import check_runnable
from .commands import (
    Begin,
    Command,
    Dispatch,
    Drain,
    EffectDone,
    EffectFailed,
    GoOn,
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
from .errors import CommandRefused, NodeError
from .events import FormFilled, FormTimeout, RunPaused, RunResumed, RunStarted
from .graph import Graph
from .inputs import check_inputs
from .machine import Machine
from .nodes.base import Form, FormReply
from .nodes.human_input import check_submission
from .request import RunRequest
from .state import Frame, RunState, Scope
from .values import ValueType


def open_run(graph: Graph, request: RunRequest, run_id: str, now: int) -> RunState:
    """Open a run: check its inputs and fill the pool. Nothing starts before `step` gets `Begin`.

    now: milliseconds since the epoch, as everywhere in the core.

    Raises:
        InvalidGraph: a node cannot run and is not pinned.
        InvalidInputs: an input is missing or wrong.
    """
    check_runnable(graph, request.pins)
    inputs = check_request(graph, request)
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
        reuse=dict(request.reuse),
    )
    m = Machine(graph, state, now)
    m.emit(
        RunStarted,
        run_id=run_id,
        graph_hash=graph.hash,
        inputs=inputs,
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
    match happened:
        case Begin():
            if state.scope:
                windows.begin_window(m)
            else:
                m.enqueue(state.root, graph.root)
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
        case Pause() | Resume() | Stop() | Submit() | SetVariables() | Retry():
            check_command(state, happened)
            _apply_command(m, happened)
        case _:
            assert_never(happened)
    _drain(m)
    return m.out


def check_request(graph: Graph, request: RunRequest) -> dict[str, Any]:
    """Check and convert the inputs of a run.

    Raises:
        InvalidInputs: names the start node and the field.
    """
    root = graph.nodes[graph.root]
    variables = getattr(root.data, "variables", None)
    if root.type.name != "start" or variables is None:
        return dict(request.inputs)
    return check_inputs(variables, request.inputs, root.id)


def check_command(state: RunState, command: Command) -> None:
    """Say whether a command fits the state, without changing anything.

    Raises:
        CommandRefused: with the reason and what would fit.
    """
    name = type(command).__name__.lower()
    if state.ended:
        raise CommandRefused(f"cannot {name}: run {state.run_id!r} has ended ({state.status}).")
    match command:
        case Pause() if state.pause is not None:
            raise CommandRefused(f"cannot pause: run {state.run_id!r} is paused already; resume it first.")
        case Resume() if state.pause is None:
            hint = " It waits for a form: use submit." if state.waiting else ""
            raise CommandRefused(f"cannot resume: run {state.run_id!r} is not paused.{hint}")
        case Submit():
            check_submission(_form_of(state, command.form), command.action, command.values)
        case _:
            return


def _form_of(state: RunState, name: str) -> Form:
    place = state.waiting[_form_key(state, name)]
    form = state.frames[place.frame].nodes[place.node].form
    assert form is not None
    return form


def _form_key(state: RunState, name: str) -> str:
    if name in state.waiting:
        return name
    keys = [key for key, place in state.waiting.items() if place.node == name]
    if len(keys) == 1:
        return keys[0]
    waiting = ", ".join(repr(key) for key in state.waiting) or "none"
    raise CommandRefused(f"cannot submit: no single form {name!r} is waiting in run {state.run_id!r}; open: {waiting}.")


def _apply_reply(m: Machine, happened: EffectDone | EffectFailed) -> None:
    place = m.state.tasks.pop(happened.key, None)
    if place is None:
        return
    frame = m.state.frames[place.frame]
    node = m.graph.nodes[place.node]
    if isinstance(happened, EffectDone):
        lifecycle.resume(m, frame, node, happened.reply)
    else:
        error = NodeError(happened.message, happened.error_type)
        lifecycle.fail(m, frame, node, frame.nodes[node.id], error)


def _apply_timer(m: Machine, key: str) -> None:
    place = m.state.deadlines.pop(key, None)
    if place is not None:
        m.emit_node(FormTimeout, m.state.frames[place.frame], m.graph.nodes[place.node], key=key)
        lifecycle.answer_form(m, key, FormReply(action=None))
        return
    place = m.state.timers.pop(key, None)
    if place is not None:
        m.state.ready.append((place.frame, place.node))


def _apply_command(m: Machine, command: Command) -> None:
    match command:
        case Pause(reason=reason):
            m.state.pause = reason
            windows.tell(m, command)
        case Resume():
            m.state.pause = None
            windows.tell(m, command)
            lifecycle.release(m)
        case Stop():
            lifecycle.finish(m, "stopped")
        case Submit():
            key = _form_key(m.state, command.form)
            place = m.state.waiting[key]
            reply = check_submission(_form_of(m.state, key), command.action, command.values)
            frame, node = m.state.frames[place.frame], m.graph.nodes[place.node]
            m.emit_node(FormFilled, frame, node, key=key, action=command.action, values=reply.values)
            lifecycle.answer_form(m, key, reply)
        case SetVariables() | Retry():
            raise NotImplementedError
        case _:
            assert_never(command)


def _drain(m: Machine) -> None:
    """Start ready nodes, first come first served, within the limit; then settle the status of the run."""
    state = m.state
    while state.ready and not state.halted and _in_flight(state) < state.options.max_parallel:
        frame_id, node_id = state.ready.popleft()
        frame = state.frames.get(frame_id)
        if frame is not None:
            lifecycle.start(m, frame, m.graph.nodes[node_id])
    if not state.ended:
        _settle_status(m)


def _settle_status(m: Machine) -> None:
    state = m.state
    busy = bool(state.tasks) or any(key not in state.resting for key in state.windows)
    if state.pause is not None:
        status = "pausing" if busy else "paused"
    elif state.waiting and not busy and not state.ready and not state.timers:
        status = "paused"
    else:
        status = "running"
    was, state.status = state.status, status
    if status == "paused" and was != "paused":
        m.emit(RunPaused, reasons=reasons(state))
    elif was == "paused" and status != "paused":
        m.emit(RunResumed)


def _in_flight(state: RunState) -> int:
    """Count what holds a place: effects, and nodes between two attempts, so that a retry keeps its turn."""
    return len(state.tasks) + len(state.timers) + len(state.windows)


def reasons(state: RunState) -> list[dict[str, Any]]:
    """Say why a run is paused: a command, or the forms it waits for."""
    found: list[dict[str, Any]] = []
    if state.pause is not None:
        found.append({"type": "scheduled_pause", "message": state.pause})
    for key, place in state.waiting.items():
        found.append({"type": "human_input_required", "key": key, "node_id": place.node})
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
