"""GraphRun: one run of one graph, as one Temporal workflow."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from temporalio import workflow

from perdure_graph import naming
from perdure_graph.children import FlowAnswer, RunFlow
from perdure_graph.errors import PerdureError
from perdure_graph.graph import graph_of
from perdure_graph.nested import flow_answer, open_flow
from perdure_graph.request import RunRequest, RunResult
from perdure_graph.step import open_run
from perdure_graph.view import result

from .handlers import Handlers, answered, concluded, in_words
from .shell import Shell, continuation_of, now


@workflow.defn(name=naming.WORKFLOW_TYPE)
class GraphRun(Handlers):
    """Runs a graph. Input `RunRequest`, output `RunResult`; a run that fails fails the workflow with its result
    as detail. Commands are updates and signals of the same names, queries are `status`, `events`, `variables`,
    `outcomes` and `given`.

    As a child it performs `RunFlow`: that is its input, and its output `FlowAnswer`.
    """

    # `Any`: an input that does not decode would fail the workflow task again and again, and so hang the run.
    @workflow.init
    def __init__(self, request: Any = None) -> None:
        try:
            self._shell = self._open(request)
        except PerdureError as error:
            self._problem = error

    def _open(self, request: Any) -> Shell:
        # Only a history of the run itself hands a state over; from anybody else it would be no request, and be refused.
        info = workflow.info()
        before = continuation_of(request) if info.continued_run_id else None
        if before is not None:
            return self._shell_of(graph_of(before.graph), before.state, before)
        try:
            if info.parent is not None and isinstance(request, dict) and "meta" in request:
                effect = RunFlow.model_validate(request)
                graph = graph_of(effect.graph)
                return self._shell_of(graph, open_flow(graph, effect, info.workflow_id, now()), None)
            asked = RunRequest.model_validate(request)
        except ValidationError as error:
            raise in_words(error, naming.WORKFLOW_TYPE, "run request") from error
        graph = graph_of(asked.graph)
        return self._shell_of(graph, open_run(graph, asked, info.workflow_id, now()), None)

    @workflow.run
    async def run(self, request: Any = None) -> RunResult | FlowAnswer:  # noqa: ARG002 - read in __init__
        """Run to the end.

        Raises:
            ApplicationError: the graph or the inputs are invalid, or the run failed (detail: `RunResult`).
        """
        state = (await self._to_the_end()).state
        limit = state.options.max_value_bytes
        if state.called:
            return answered(lambda: flow_answer(state, workflow.info().workflow_id), limit)
        return concluded(result(state), limit)
