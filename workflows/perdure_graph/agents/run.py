"""The run of an agent: the graph of its one loop, how it begins, and what it answers.

start -> agent (`agent-loop`) -> answer `{{#agent.text#}}`
"""

from __future__ import annotations

from typing import Any

from .. import child_runs
from ..graph import Document, Edge, Graph, NodeSpec
from ..models.usage import Usage
from ..nested import check_ended_well
from ..request import RunRequest, RunResult
from ..state import RunState
from ..step import open_run
from ..view import result
from .config import AgentConfig
from .effects import AgentAnswer, RunAgent

START, LOOP, ANSWER = "start", "agent", "answer"


def document_of(config: AgentConfig) -> Document:
    """Draw the graph of an agent."""
    return Document(
        mode="advanced-chat",
        name=config.name,
        nodes=(
            NodeSpec(id=START, data={"type": "start", "title": START}),
            NodeSpec(
                id=LOOP, data={"type": "agent-loop", "title": config.name, "config": config.model_dump(mode="json")}
            ),
            NodeSpec(id=ANSWER, data={"type": "answer", "title": ANSWER, "answer": "{{#agent.text#}}"}),
        ),
        edges=(Edge(source=START, target=LOOP), Edge(source=LOOP, target=ANSWER)),
    )


def open_agent(graph: Graph, effect: RunAgent, run_id: str, now: int) -> RunState:
    """Open the run of an agent: within another run where the effect says so, else a run that stands alone.

    Raises:
        InvalidGraph: its loop cannot run.
    """
    request = RunRequest(
        graph=graph.document,
        inputs=effect.inputs,
        query=effect.query,
        files=list(effect.files),
        sysvars={"conversation_id": effect.conversation_id} if effect.conversation_id else {},
        user=effect.user or "user",
        tenant=effect.tenant,
        options=effect.options,
    )
    run_id = run_id if effect.meta is None else effect.meta.run_id
    state = open_run(graph, request, run_id, now, given=effect.inputs)
    deepest = min(effect.deepest, effect.depth + effect.config.max_depth - 1)
    if effect.meta is None:
        state.deepest = deepest
        state.flow = effect.flow or state.flow
    else:
        child_runs.belongs(state, effect, effect.stream, deepest)
    return state


def agent_answer(state: RunState) -> AgentAnswer:
    """Sum up the run of an agent within another.

    Raises:
        NodeError: it failed, or was stopped by itself.
    """
    check_ended_well(state)
    outputs = _outputs(state)
    return AgentAnswer.model_validate(
        {name: outputs[name] for name in AgentAnswer.model_fields if name in outputs and name != "usage"}
        | {"usage": _usage(outputs)}
    )


def agent_result(state: RunState) -> RunResult:
    """Sum up the run of an agent that stands alone: outputs `answer`, `files`, `end` and `usage`."""
    ended, outputs = result(state), _outputs(state)
    if not outputs or ended.status == "failed":
        return ended
    more: dict[str, Any] = {"end": outputs.get("end", "answer"), "usage": _usage(outputs).as_dify()}
    if outputs.get("files"):
        more["files"] = outputs["files"]
    return ended.model_copy(update={"outputs": ended.outputs | more})


def _outputs(state: RunState) -> dict[str, Any]:
    return (state.root.scope or {}).get(LOOP, {})


def _usage(outputs: dict[str, Any]) -> Usage:
    return Usage.model_validate(outputs.get("usage") or {})
