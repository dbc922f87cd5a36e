"""A graph that runs as an effect of another run: how it begins, and what it answers."""

from __future__ import annotations

from typing import Any

from . import child_runs
from .children import FlowAnswer, RunFlow
from .errors import NodeError
from .graph import Graph
from .request import RunRequest
from .state import RunState
from .step import open_run


def open_flow(graph: Graph, effect: RunFlow, run_id: str, now: int) -> RunState:
    """Open the run of a graph within another. `run_id` is what the graph itself sees as its own.

    Raises:
        InvalidGraph: a node cannot run.
        InvalidInputs: an input is missing or wrong.
    """
    assert effect.meta is not None
    request = RunRequest(
        graph=effect.graph,
        inputs=effect.inputs,
        query=effect.query,
        sysvars={"workflow_run_id": run_id, "conversation_id": run_id},
        user=effect.user,
        tenant=effect.tenant,
        options=effect.options,
    )
    state = open_run(graph, request, effect.meta.run_id, now)
    child_runs.belongs(state, effect, None, effect.deepest)
    return state


def flow_answer(state: RunState, run_id: str) -> FlowAnswer:
    """Sum up a run within another that has ended.

    Raises:
        NodeError: it did not succeed.
    """
    check_ended_well(state)
    files: list[Any] = state.files
    return FlowAnswer(outputs=state.outputs, files=tuple(files), run_id=run_id)


def check_ended_well(state: RunState) -> None:
    """Check that a run within another has something to answer.

    Raises:
        NodeError: it failed, or was stopped by itself.
    """
    if state.error is not None:
        raise NodeError(f"node {state.error.title or state.error.node!r}: {state.error.message}", state.error.type)
    if state.status == "stopped":
        raise NodeError("it was stopped before it had an answer", "ChildStopped")
