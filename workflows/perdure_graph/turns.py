"""Nodes that have several effects and forms under way at once, each under a name (`nodes.base.Turn`).

What becomes of each comes to the node as `Came`, one at a time, in the order in which it happened; a failure too, so
that the node decides what it means. The node ends with all that it has under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from . import child_runs, lifecycle
from .commands import Cancel, EffectDone, EffectFailed
from .effects import Effect, Reply
from .errors import NodeError
from .events import NEWS, NodeHeld, NodeReleased
from .graph import Node
from .machine import Machine, key_of, turn_of
from .nodes.base import Came, Failed, News, Turn
from .state import Failure, Frame, NodeRun


def check(node: Node, run: NodeRun, turn: Turn) -> None:
    """Check what a node asks for.

    Raises:
        NodeError: two things under one name, or nothing that could ever come.
    """
    names = [name for name, _ in (*turn.perform, *turn.wait)]
    twice = sorted({name for name in names if names.count(name) > 1 or name in run.under or not name})
    # A number is how the second effect of a node is called that has one at a time.
    wrong = twice or [name for name in names if name.isdigit()]
    if wrong:
        raise NodeError(
            f"node type {node.type.name!r} asks for {wrong[0]!r}, which is under way already or no name", "BadTurn"
        )
    if not names and not run.under:
        raise NodeError(f"node type {node.type.name!r} waits for nothing: nothing is under way", "BadTurn")


def check_news(node: Node, tell: Sequence[News]) -> None:
    """Check that what a node tells makes events.

    Raises:
        NodeError: says what does not fit.
    """
    for news in tell:
        try:
            NEWS[news.kind](seq=0, at=0, node_id=node.id, title=node.title, node_type=node.type.name, **news.fields)
        except (ValidationError, TypeError) as error:
            raise NodeError(f"node type {node.type.name!r} tells no {news.kind}: {error}", "BadNews") from error


def say(m: Machine, frame: Frame, node: Node, tell: Sequence[News]) -> None:
    """Emit what a node tells."""
    for news in tell:
        m.emit_node(NEWS[news.kind], frame, node, **news.fields)


def begin(m: Machine, frame: Frame, node: Node, run: NodeRun, turn: Turn) -> None:
    """Do what a turn asks for, in its order; what began before goes on."""
    run.inputs = dict(turn.inputs) or run.inputs
    run.memo, run.turned = turn.memo, True
    say(m, frame, node, turn.tell)
    refused: list[tuple[str, Failed]] = []
    for name, effect in turn.perform:
        run.under[name] = key_for(frame, node, run, name)
        problem = child_runs.too_deep(m.state, effect)
        if problem is not None:
            refused.append((name, Failed(problem.message, problem.error_type)))
        else:
            _ask(m, frame, node, run, name, effect)
    for name, form in turn.wait:
        run.under[name] = key_for(frame, node, run, name)
        run.forms[name] = form
        lifecycle.open_form(m, frame, node, run.under[name], form, name)
    _show(m, run)
    for name, failed in refused:
        # What came of one may have ended the node, and with it the others.
        if name in run.under and not m.state.ended:
            came(m, frame, node, name, failed)


def _ask(m: Machine, frame: Frame, node: Node, run: NodeRun, name: str, effect: Effect) -> None:
    if m.state.halted:
        m.state.held.append(lifecycle.put_by(frame, node, effect, name))
    else:
        lifecycle.perform(m, frame, node, run, effect, name)


def key_for(frame: Frame, node: Node, run: NodeRun, name: str) -> str:
    """Name one thing of a node: `it[3].k#name`, with the number of its start where that is not the first."""
    turn = turn_of(run)
    return f"{key_of(frame, node)}#{name}" if turn == "1" else f"{key_of(frame, node)}#{turn}#{name}"


def came(m: Machine, frame: Frame, node: Node, name: str, reply: Reply | Failed) -> None:
    """Tell a node what became of one thing."""
    run = frame.nodes[node.id]
    run.under.pop(name, None)
    run.forms.pop(name, None)
    run.status = "running"
    lifecycle.resume(m, frame, node, Came(name, reply))


def came_back(m: Machine, frame: Frame, node: Node, name: str, happened: EffectDone | EffectFailed) -> None:
    """Take the reply of an effect, or its failure. One that was refused waits for an operator, and the node with it."""
    run = frame.nodes[node.id]
    run.cached = False
    if isinstance(happened, EffectDone):
        came(m, frame, node, name, happened.reply)
    elif happened.refused and happened.effect is not None and not m.state.is_window:
        _hold(m, frame, node, run, name, happened, happened.effect)
    else:
        came(m, frame, node, name, Failed(happened.message, happened.error_type, happened.interrupted))


def _hold(m: Machine, frame: Frame, node: Node, run: NodeRun, name: str, refused: EffectFailed, effect: Effect) -> None:
    m.state.failures[refused.key] = Failure(
        frame=frame.id,
        node=node.id,
        reason="refused",
        message=refused.message,
        error_type=refused.error_type,
        again=lifecycle.put_by(frame, node, effect, name),
    )
    _show(m, run)
    m.emit_node(
        NodeHeld,
        frame,
        node,
        key=refused.key,
        reason="refused",
        error=refused.message,
        error_type=refused.error_type,
    )


def again(m: Machine, key: str) -> None:
    """Perform an effect that was refused, because an operator says so; the node goes on where it is."""
    failure = m.state.failures.pop(key)
    assert failure.again is not None
    frame, node = m.state.frames[failure.frame], m.graph.nodes[failure.node]
    m.emit_node(NodeReleased, frame, node, key=key)
    if m.state.halted:
        m.state.held.append(failure.again)
    else:
        lifecycle.take_up(m, failure.again)
    _show(m, frame.nodes[node.id])


def _show(m: Machine, run: NodeRun) -> None:
    keys = run.under.values()
    if any(key in m.state.failures for key in keys):
        run.status = "held"
    elif keys and all(key in m.state.waiting for key in keys):
        run.status = "waiting"
    else:
        run.status = "running"


def end(m: Machine, frame: Frame, node: Node, run: NodeRun) -> None:
    """Take away all that a node has under way: it has ended."""
    if not run.under:
        return
    state = m.state
    for key in run.under.values():
        tables: tuple[dict[str, Any], ...] = (state.tasks, state.deadlines)
        m.out.extend(Cancel(key=key) for table in tables if table.pop(key, None) is not None)
        state.waiting.pop(key, None)
        state.failures.pop(key, None)
        state.children.pop(key, None)
    own = (frame.id, node.id)
    state.held = [held for held in state.held if (held.frame, held.node) != own]
    run.under, run.forms = {}, {}
