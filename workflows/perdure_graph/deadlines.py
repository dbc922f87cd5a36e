"""Deadlines: of the whole run, and of single nodes (all attempts, waits and inner nodes included).

The deadline of a run ends it whatever state it is in. That of a node takes away everything the node has under way
and fails it; the graph's retries are over then, its error strategy still applies.
"""

from __future__ import annotations

from collections import deque

from . import child_runs, containers, failing, lifecycle, turns, windows
from .commands import Cancel, StartTimer
from .errors import NodeError
from .graph import Node
from .machine import Machine, key_of
from .request import RunError
from .state import Frame, IterationRun, Place, RunState
from .timers import RUN_DEADLINE

ERROR_TYPE = "DeadlineExceeded"
_SHOWN = 5


def start_run(m: Machine) -> None:
    """Start the clock of a run. A window has none: its run has."""
    limit = m.state.options.deadline_s
    if limit is None or m.state.scope:
        return
    m.state.expires_at = m.state.started_at + int(limit * 1000)
    m.out.append(StartTimer(key=RUN_DEADLINE, seconds=max(0, m.state.expires_at - m.now) / 1000))


def expire_run(m: Machine) -> None:
    """Fail the run, saying what it was waiting for."""
    text = f"the run took longer than its deadline of {m.state.options.deadline_s:g} s; {_waiting_for(m.state)}."
    lifecycle.finish(m, "failed", RunError(message=text, type=ERROR_TYPE))


def _waiting_for(state: RunState) -> str:
    found: list[str] = []
    if state.pause is not None:
        found.append("a resume" + (f" (paused: {state.pause})" if state.pause else ""))
    children = state.children.items()
    held = [*state.failures, *(child_runs.joined(child, key) for child, known in children for key in known.failures)]
    forms = [*state.waiting, *(child_runs.joined(child, key) for child, known in children for key in known.forms)]
    found += [f"an operator's retry of node {key!r}" for key in held]
    found += [f"an answer to form {key!r}" for key in forms]
    found += [f"node {key!r}" for key in state.tasks]
    found += [f"items {key!r}" for key in state.windows]
    found += [f"the next attempt of node {place.frame + place.node!r}" for place in state.timers.values()]
    if not found:
        return "it was waiting for nothing in particular"
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"it was waiting for {', '.join(found[:_SHOWN])}{more}"


def start_node(m: Machine, frame: Frame, node: Node) -> None:
    """Start the clock of a node that has one."""
    limit = lifecycle.options_of(m, node).deadline_s
    if limit is None:
        return
    key = _limit_key(frame, node)
    m.state.limits[key] = Place(frame=frame.id, node=node.id, due=m.now + int(limit * 1000))
    m.out.append(StartTimer(key=key, seconds=limit))


def lift(m: Machine, frame: Frame, node: Node) -> None:
    """Stop the clock of a node that has ended, or that waits for an operator."""
    if m.state.limits and m.state.limits.pop(key := _limit_key(frame, node), None) is not None:
        m.out.append(Cancel(key=key))


def expire_node(m: Machine, place: Place) -> None:
    """Take away what a node has under way, and fail it."""
    frame, node = m.state.frames[place.frame], m.graph.nodes[place.node]
    run = frame.nodes[node.id]
    turns.end(m, frame, node, run)
    _abandon(m, frame, node)
    limit = (place.due - run.started_at) / 1000
    error = NodeError(f"node {key_of(frame, node)!r} took longer than its deadline of {limit:g} s", ERROR_TYPE)
    failing.fail(m, frame, node, run, error, final=True)


def _abandon(m: Machine, frame: Frame, node: Node) -> None:
    """Forget what is under way for a node: effects, timers, forms, its turn in the queue, and all inside of it."""
    state = m.state
    for table in (state.tasks, state.timers, state.deadlines, state.waiting):
        for key in [k for k, at in table.items() if (at.frame, at.node) == (frame.id, node.id)]:
            if table.pop(key) and table is not state.waiting:
                m.out.append(Cancel(key=key))
            state.children.pop(key, None)
    state.held = [held for held in state.held if (held.frame, held.node) != (frame.id, node.id)]
    state.ready = deque(entry for entry in state.ready if entry != (frame.id, node.id))
    containers.forget_below(m, f"{key_of(frame, node)}[")
    run = frame.nodes[node.id]
    if isinstance(run.container, IterationRun):
        for window in run.container.windows:
            windows.drop(m, window)
        run.container.windows.clear()


def _limit_key(frame: Frame, node: Node) -> str:
    return f"{key_of(frame, node)}!deadline"
