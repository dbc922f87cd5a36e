"""Containers: iterations and loops open frames over the same graph, and close them into outputs.

An iteration item gets a frame with its own scope; a round of a loop gets a frame that shares its parent's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from . import failing, lifecycle, outcomes, pool, reuse, stream, windows
from .commands import Cancel
from .errors import NodeError
from .events import ContainerCompleted, ContainerNext, ContainerStarted
from .graph import Node
from .machine import Machine, NodeContext
from .nodes.base import Missing
from .nodes.iteration import IterationData, check_start, collect, items_of
from .nodes.loop import LoopData, initial_variables, should_break
from .request import RunError
from .state import Frame, IterationRun, LoopRun, NodeRun


def open_container(m: Machine, frame: Frame, node: Node, run: NodeRun) -> None:
    """Start an iteration or a loop."""
    context = NodeContext(m.state, frame, node, run, m.now)
    try:
        check_start(node.data, m.graph.nodes, m.graph.document.version)
        if isinstance(node.data, IterationData):
            items = items_of(node.data, context)
            run.inputs = {"iterator_selector": items}
            run.container = IterationRun(items=items)
            m.emit_node(ContainerStarted, frame, node, type="iteration_started", length=len(items))
            reuse.fill_in(m, frame, node, run, run.container)
            next_items(m, frame, node, run, run.container)
            return
        data = cast("LoopData", node.data)
        declared = initial_variables(data, context)
    except NodeError as error:
        failing.fail(m, frame, node, run, error)
        return
    m.state.types[node.id] = {name: kind for name, (kind, _) in declared.items()}
    pool.scope_of(m.state, frame)[node.id] = {name: value for name, (_, value) in declared.items()}
    run.container = LoopRun(round=-1)
    m.emit_node(ContainerStarted, frame, node, type="loop_started", length=data.loop_count)
    try:
        done = should_break(data, context)
    except NodeError:
        done = False
    if done:
        _finish_loop(m, frame, node, run, "loop_break")
    else:
        _next_round(m, frame, node, run, run.container)


def proceed(m: Machine, frame: Frame, node: Node, run: NodeRun, state: IterationRun) -> None:
    """Take the turn of an iteration of which one item, or one window, has ended."""
    state.active -= 1
    next_items(m, frame, node, run, state)


def close_if_done(m: Machine, frame: Frame) -> None:
    """Close a frame in which nothing is left to do; closing may close the frames around it."""
    if frame.open or m.state.ended:
        return
    if frame.parent is None:
        partial = m.state.exceptions_count > 0
        lifecycle.finish(m, "partial-succeeded" if partial else "succeeded")
        return
    parent = m.state.frames[frame.parent]
    node = m.graph.nodes[frame.container]
    run = parent.nodes[node.id]
    match run.container:
        case IterationRun():
            data = cast("IterationData", node.data)
            value = pool.lookup(m.state, frame, data.output_selector)
            run.container.results[frame.index] = None if isinstance(value, Missing) else value
            _item_closed(m, parent, frame, node, run.container)
        case LoopRun():
            _round_closed(m, parent, frame, node, run, run.container)
        case None:
            return


def fail_frame(m: Machine, frame: Frame, node: Node, error: NodeError) -> None:
    """Take an unhandled failure to the container around it, or end the run."""
    cause = RunError(message=error.message, type=error.error_type, node=node.id, title=node.title)
    if frame.parent is None:
        lifecycle.finish(m, "failed", cause)
        return
    forget_below(m, frame.id)
    parent = m.state.frames[frame.parent]
    container = m.graph.nodes[frame.container]
    run = parent.nodes[container.id]
    match run.container:
        case IterationRun():
            data = cast("IterationData", container.data)
            if data.error_handle_mode == "terminated":
                run.container.error = run.container.error or cause
            elif data.error_handle_mode == "remove-abnormal-output":
                run.container.dropped.append(frame.index)
            else:
                run.container.results[frame.index] = None
            _item_closed(m, parent, frame, container, run.container)
        case LoopRun():
            m.state.frames.pop(frame.id, None)
            failing.fail(m, parent, container, run, error)
        case None:
            return


def emit_completed(
    m: Machine, frame: Frame, node: Node, run: NodeRun, outputs: Mapping[str, Any], error: NodeError | None
) -> None:
    """Append the closing event of a container."""
    kind = "iteration_completed" if node.type.name == "iteration" else "loop_completed"
    steps, reason = 0, None
    if isinstance(run.container, IterationRun):
        steps = len(run.container.items)
        run.results = None if frame.id else outcomes.results_to_keep(run.container, outputs)
    elif isinstance(run.container, LoopRun):
        steps = run.container.round + 1
        reason = "error" if error else str(run.memo or "loop_completed")
    m.emit_node(
        ContainerCompleted,
        frame,
        node,
        type=kind,
        status="succeeded" if error is None else ("failed" if run.status == "failed" else "exception"),
        outputs=dict(outputs),
        steps=steps,
        error=error.message if error else None,
        error_type=error.error_type if error else None,
        elapsed=m.seconds_since(run.started_at),
        reason=reason,
    )
    run.container = None


def next_items(m: Machine, parent: Frame, node: Node, run: NodeRun, state: IterationRun) -> None:
    """Open frames as many as run at once, or windows; end the iteration when no item is left."""
    data = cast("IterationData", node.data)
    if windows.is_windowed(m, parent, node, state):
        if state.error is None:
            windows.open_windows(m, node, state)
    else:
        _open_frames(m, parent, node, data, state)
    if state.active:
        return
    if m.state.is_window and not parent.id:
        windows.end_window(m)
        return
    if state.error is not None:
        error = NodeError(state.error.message, state.error.type)
        failing.fail(m, parent, node, run, error)
        return
    outputs = {"output": collect(data, state.results, len(state.items))}
    stream.merge_answers(m, parent, [text for i in sorted(state.answers) for text in state.answers[i]])
    _finish(m, parent, node, run, outputs)


def _open_frames(m: Machine, parent: Frame, node: Node, data: IterationData, state: IterationRun) -> None:
    in_window = m.state.is_window and not parent.id
    at_once = m.state.width if in_window else data.parallel_nums if data.is_parallel else 1
    while state.error is None and state.active < at_once and state.next < len(state.items):
        position = state.next
        index = state.first + position
        state.next += 1
        state.active += 1
        m.emit_node(ContainerNext, parent, node, type="iteration_next", index=index)
        frame = Frame(
            id=f"{parent.id}{node.id}[{index}].",
            parent=parent.id,
            container=node.id,
            index=index,
            scope={node.id: {"item": state.items[position], "index": index}},
        )
        m.state.frames[frame.id] = frame
        m.enqueue(frame, data.start_node_id)


def _item_closed(m: Machine, parent: Frame, frame: Frame, node: Node, state: IterationRun) -> None:
    if frame.answers:
        state.answers[frame.index] = frame.answers
    m.state.frames.pop(frame.id, None)
    # The iteration takes its turn in the queue like any node, as it does in Dify's engine.
    m.state.ready.append((parent.id, node.id))


def _next_round(m: Machine, parent: Frame, node: Node, run: NodeRun, state: LoopRun) -> None:
    data = cast("LoopData", node.data)
    state.round += 1
    scope = pool.scope_of(m.state, parent)
    for member in m.graph.loop_members.get(node.id, ()):
        scope.pop(member, None)
    if state.round:
        m.emit_node(ContainerNext, parent, node, type="loop_next", index=state.round)
    frame = Frame(id=f"{parent.id}{node.id}[{state.round}].", parent=parent.id, container=node.id, index=state.round)
    m.state.frames[frame.id] = frame
    m.enqueue(frame, data.start_node_id)
    run.status = "running"


def _round_closed(m: Machine, parent: Frame, frame: Frame, node: Node, run: NodeRun, state: LoopRun) -> None:
    data = cast("LoopData", node.data)
    m.state.frames.pop(frame.id, None)
    stream.merge_answers(m, parent, frame.answers)
    try:
        broken = frame.loop_end or should_break(data, NodeContext(m.state, parent, node, run, m.now))
    except NodeError as error:
        failing.fail(m, parent, node, run, error)
        return
    if broken:
        _finish_loop(m, parent, node, run, "loop_break")
    elif state.round + 1 >= data.loop_count:
        _finish_loop(m, parent, node, run, "loop_completed")
    else:
        _next_round(m, parent, node, run, state)


def _finish_loop(m: Machine, parent: Frame, node: Node, run: NodeRun, reason: str) -> None:
    assert isinstance(run.container, LoopRun)
    outputs = dict(pool.variables_of(m.state, parent, node.id))
    if run.container.round >= 0:
        outputs["loop_round"] = run.container.round + 1
    run.memo = reason
    _finish(m, parent, node, run, outputs)


def _finish(m: Machine, parent: Frame, node: Node, run: NodeRun, outputs: Mapping[str, Any]) -> None:
    run.status = "succeeded"
    lifecycle.keep_outputs(m, parent, node, outputs)
    lifecycle.go_on(m, parent, node, "source" if node.is_branch else None)
    emit_completed(m, parent, node, run, outputs, None)
    lifecycle.leave(m, parent)


def forget_below(m: Machine, prefix: str) -> None:
    """Forget everything in the frames whose ids begin so; cancel what is in flight there."""
    state = m.state
    for table in (state.tasks, state.timers, state.deadlines, state.limits, state.waiting):
        for key in [k for k, place in table.items() if place.frame.startswith(prefix)]:
            if table.pop(key) and table is not state.waiting:
                m.out.append(Cancel(key=key))
            state.children.pop(key, None)
    for key in [k for k, failure in state.failures.items() if failure.frame.startswith(prefix)]:
        del state.failures[key]
    state.held = [held for held in state.held if not held.frame.startswith(prefix)]
    for inner in [f for f in state.frames if f.startswith(prefix)]:
        del state.frames[inner]
