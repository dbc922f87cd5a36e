"""What becomes of a node that fails: it is tried again, takes its error strategy, waits for an operator, or fails its
frame.
"""

from __future__ import annotations

from typing import assert_never

from . import containers, holding, lifecycle, outcomes, turns
from .commands import StartTimer
from .errors import NodeError
from .events import NodeRetry
from .graph import Node
from .machine import Machine, key_of
from .request import RunError
from .state import Frame, NodeRun, Place


def fail(m: Machine, frame: Frame, node: Node, run: NodeRun, error: NodeError, *, final: bool = False) -> None:
    """Retry, take the error strategy, or fail the frame. Every failed attempt counts as an exception.

    final: whether the graph's own retries are over.
    """
    turns.end(m, frame, node, run)
    m.state.exceptions_count += 1
    outcomes.top_run(m, frame, run)[0].exceptions += 1
    if not final and may_retry(node, run):
        _retry(m, frame, node, run, error)
    else:
        _fail_for_good(m, frame, node, run, error)


def interrupt(m: Machine, frame: Frame, node: Node, run: NodeRun, error: NodeError) -> None:
    """Settle an effect of which nobody knows whether it was done: one that must not be repeated needs an operator."""
    if run.once and not m.state.is_window:
        holding.hold(m, frame, node, run, error, "interrupted")
    else:
        fail(m, frame, node, run, error)


def refuse(m: Machine, frame: Frame, node: Node, run: NodeRun, error: NodeError) -> None:
    """Settle an effect that was refused until an operator has seen to it; in a window nobody could."""
    if m.state.is_window:
        fail(m, frame, node, run, error, final=True)
    else:
        holding.hold(m, frame, node, run, error, "refused")


def may_retry(node: Node, run: NodeRun) -> bool:
    """Whether the graph has the node tried again when this attempt fails."""
    config = node.data.retry_config
    return node.type.retries and config.retry_enabled and run.attempt <= config.max_retries and not run.once


def _retry(m: Machine, frame: Frame, node: Node, run: NodeRun, error: NodeError) -> None:
    config = node.data.retry_config
    m.emit_node(
        NodeRetry,
        frame,
        node,
        retry_index=run.attempt,
        error=error.message,
        error_type=error.error_type,
    )
    run.attempt += 1
    run.asked = 0
    run.status = "retrying"
    if config.retry_interval:
        key = f"{key_of(frame, node)}~{run.attempt}"
        m.state.timers[key] = Place(frame=frame.id, node=node.id, due=m.now + config.retry_interval)
        m.out.append(StartTimer(key=key, seconds=config.retry_interval / 1000))
    else:
        m.state.ready.append((frame.id, node.id))


def _fail_for_good(m: Machine, frame: Frame, node: Node, run: NodeRun, error: NodeError) -> None:
    cause = {"error_message": error.message, "error_type": error.error_type}
    match node.data.error_strategy:
        case "fail-branch":
            outputs, handle = cause, "fail-branch"
        case "default-value":
            if node.type.role == "branch":
                no_branch(m, frame, node, run)
                return
            outputs, handle = {d.key: d.value for d in node.data.default_value} | cause, None
        case None:
            run.status = "failed"
            lifecycle.emit_finished(m, frame, node, run, {}, None, None, error)
            if holding.waits(m) and holding.ends_run(m, frame):
                holding.hold(m, frame, node, run, error, "failed")
            else:
                containers.fail_frame(m, frame, node, error)
            return
        case _:
            assert_never(node.data.error_strategy)
    run.status = "exception"
    lifecycle.keep_outputs(m, frame, node, outputs)
    lifecycle.go_on(m, frame, node, handle)
    lifecycle.emit_finished(m, frame, node, run, outputs, None, handle, error)
    lifecycle.leave(m, frame)


def no_branch(m: Machine, frame: Frame, node: Node, run: NodeRun) -> None:
    """Fail the run: Dify ends it here without a result for the node; which edge to take is unknowable."""
    text = f"Branch node {node.id} completed without selecting a branch"
    if holding.waits(m):
        error = NodeError(text, "BranchNotSelected")
        run.status = "failed"
        lifecycle.emit_finished(m, frame, node, run, {}, None, None, error)
        holding.hold(m, frame, node, run, error, "failed")
        return
    lifecycle.finish(m, "failed", RunError(message=text, type="BranchNotSelected", node=node.id, title=node.title))
