"""AgentRun: one agent, as one Temporal workflow: alone, or as the child of a run."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from temporalio import workflow

from perdure_graph import naming
from perdure_graph.agents.effects import AgentAnswer, RunAgent
from perdure_graph.agents.run import agent_answer, agent_result, document_of, open_agent
from perdure_graph.errors import PerdureError
from perdure_graph.graph import graph_of
from perdure_graph.request import RunResult

from .handlers import Handlers, answered, concluded, in_words
from .shell import Shell, continuation_of, now


@workflow.defn(name=naming.AGENT_TYPE)
class AgentRun(Handlers):
    """Runs an agent. Input `RunAgent`; output `RunResult` with the outputs `answer`, `files`, `end` and `usage`, of a
    child `AgentAnswer`. Commands and queries are those of `GraphRun`.
    """

    # `Any`: an input that does not decode would fail the workflow task again and again, and so hang the run.
    @workflow.init
    def __init__(self, request: Any = None) -> None:
        try:
            self._shell = self._open(request)
        except PerdureError as error:
            self._problem = error

    def _open(self, request: Any) -> Shell:
        info = workflow.info()
        before = continuation_of(request) if info.continued_run_id else None
        if before is not None:
            return self._shell_of(graph_of(before.graph), before.state, before)
        try:
            effect = RunAgent.model_validate(request)
        except ValidationError as error:
            raise in_words(error, naming.AGENT_TYPE, "agent and its query") from error
        if info.parent is None:
            # What only the run around it may say.
            effect = effect.model_copy(update={"meta": None, "paused": None, "depth": 1, "stream": None})
        graph = graph_of(document_of(effect.config))
        return self._shell_of(graph, open_agent(graph, effect, info.workflow_id, now()), None)

    @workflow.run
    async def run(self, request: Any = None) -> RunResult | AgentAnswer:  # noqa: ARG002 - read in __init__
        """Run to the end.

        Raises:
            ApplicationError: the agent is invalid, or its run failed (detail: `RunResult`).
        """
        state = (await self._to_the_end()).state
        limit = state.options.max_value_bytes
        if state.called:
            return answered(lambda: agent_answer(state), limit)
        return concluded(agent_result(state), limit)
