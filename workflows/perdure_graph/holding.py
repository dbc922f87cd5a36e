"""Nodes that wait for an operator: why they are held, and how `retry` lets them go on.

A node is held when its failure would end a run that was started with `on_failure="wait"`, when an effect of it that
must not be repeated blindly was interrupted, or when one was refused until somebody has seen to it (a budget is used
up). The frame around it stays open and other branches go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from . import child_runs, deadlines, failing, lifecycle, turns
from .check_references import told
from .commands import Cancel, Retry
from .errors import CommandRefused, NodeError
from .events import HoldReason, NodeHeld, NodeReleased
from .graph import Graph, Node
from .machine import Machine, key_of
from .nodes.base import Done
from .nodes.iteration import IterationData
from .state import Failure, Frame, IterationRun, NodeRun, RunState
from .values import infer_type, matches


def ends_run(m: Machine, frame: Frame) -> bool:
    """Whether a failure that its node does not handle would end the run: no container around it takes it either."""
    while frame.parent is not None:
        parent = m.state.frames[frame.parent]
        container = m.graph.nodes[frame.container]
        run = parent.nodes[container.id]
        if isinstance(run.container, IterationRun):
            data = cast("IterationData", container.data)
            if data.error_handle_mode != "terminated":
                return False
        if container.data.error_strategy is not None or failing.may_retry(container, run):
            return False
        frame = parent
    return True


def waits(m: Machine) -> bool:
    """Whether failures of this run wait for an operator. Nobody can reach the nodes of a window."""
    return m.state.options.on_failure == "wait" and not m.state.is_window


def hold(m: Machine, frame: Frame, node: Node, run: NodeRun, error: NodeError, reason: HoldReason) -> None:
    """Keep a node for an operator."""
    turns.end(m, frame, node, run)
    deadlines.lift(m, frame, node)
    run.status = "held"
    key = key_of(frame, node)
    m.state.failures[key] = Failure(
        frame=frame.id, node=node.id, reason=reason, message=error.message, error_type=error.error_type
    )
    m.emit_node(NodeHeld, frame, node, key=key, reason=reason, error=error.message, error_type=error.error_type)


def check_retry(graph: Graph, state: RunState, command: Retry) -> None:
    """Check that the node waits for an operator or its next attempt, and that outputs given for it fit.

    Raises:
        CommandRefused: says what could be retried, or what does not fit.
    """
    found = _find(graph, state, command.node)
    if found.child:
        return
    failure = state.failures.get(found.key)
    if failure is not None and failure.again is not None and command.outputs is not None:
        raise CommandRefused(
            f"cannot retry: {found.key!r} is one effect of node {failure.node!r}, which has no outputs of its own. "
            "Retry it without outputs."
        )
    node = graph.nodes[found.node]
    if command.outputs is not None:
        _handle_of(node, command.outputs)
        _check_types(node, command.outputs)


def retry(m: Machine, command: Retry) -> None:
    """Make a node ready again, or finish it with the outputs that the operator gives."""
    state = m.state
    place = _find(m.graph, state, command.node)
    key = place.key
    if place.child:
        child_runs.pass_on(m, place.child, command.model_copy(update={"node": place.inner}))
        return
    if (failure := state.failures.get(key)) is not None and failure.again is not None:
        turns.again(m, key)
        return
    frame, node = state.frames[place.frame], m.graph.nodes[place.node]
    run = frame.nodes[node.id]
    was_held = state.failures.pop(key, None) is not None
    for timer in [t for t, at in state.timers.items() if (at.frame, at.node) == (place.frame, place.node)]:
        del state.timers[timer]
        m.out.append(Cancel(key=timer))
    if was_held or command.outputs is not None:
        m.emit_node(NodeReleased, frame, node, key=key, given=command.outputs is not None)
    if command.outputs is not None:
        done = Done(outputs=command.outputs, handle=_handle_of(node, command.outputs), inputs=run.inputs)
        lifecycle.succeed(m, frame, node, run, done)
        return
    if was_held:
        run.status, run.attempt, run.asked, run.once = "released", 1, 0, False
        run.group += 1
        # The memo stays: an agent goes on where it was.
        run.inputs, run.form, run.container = {}, None, None
    state.ready.append((place.frame, place.node))


@dataclass(frozen=True, slots=True)
class _Found:
    """What can be retried: a node here, or `inner` in a child."""

    key: str
    node: str
    frame: str = ""
    child: str = ""
    inner: str = ""


def _find(graph: Graph, state: RunState, name: str) -> _Found:
    """Find what can be retried, by its key, or by the id of its node where only one matches."""
    held = (
        _Found(held.key, held.node_id, held.failure.frame, held.child, held.inner)
        for held in child_runs.held_nodes(graph, state)
    )
    between = (_Found(at.frame + at.node, at.node, at.frame) for at in state.timers.values())
    places = {found.key: found for found in (*held, *between)}
    if name in places:
        return places[name]
    keys = [key for key, found in places.items() if found.node == name]
    if len(keys) == 1:
        return places[keys[0]]
    if keys:
        listed = ", ".join(map(repr, keys))
        raise CommandRefused(f"cannot retry: node {name!r} waits several times: {listed}. Name one of these.")
    listed = ", ".join(map(repr, places)) or "none"
    raise CommandRefused(
        f"cannot retry: no node {name!r} of run {state.run_id!r} waits for an operator or for its next attempt; "
        f"nodes that do: {listed}. To run it again from there, fork the run."
    )


def _handle_of(node: Node, outputs: Mapping[str, Any]) -> str | None:
    """Read the branch that given outputs select."""
    if node.type.role != "branch":
        return None
    handles = told(node.type.handles, node) or ()
    name = node.type.pinned_handle
    handle = outputs.get(name) if name is not None else None
    if isinstance(handle, str) and handle in handles:
        return handle
    if name is None:
        raise CommandRefused(
            f"cannot retry: node {node.id!r} is a branch ({node.type.name}) whose outputs do not say which edge to "
            "take. Retry it without outputs."
        )
    raise CommandRefused(
        f"cannot retry: node {node.id!r} is a branch; its outputs need {name!r} to say which edge to take, one of "
        f"{', '.join(map(repr, handles))} (got {handle!r})."
    )


def _check_types(node: Node, outputs: Mapping[str, Any]) -> None:
    declared = told(node.type.outputs, node) or {}
    for name, value in outputs.items():
        expected = declared.get(name)
        if expected is not None and value is not None and not matches(expected, value):
            raise CommandRefused(
                f"cannot retry: output {name!r} of node {node.id!r} must be {expected}, got {infer_type(value)}."
            )
