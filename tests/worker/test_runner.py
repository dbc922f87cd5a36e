"""A run that a query brought into memory, events and all, is forgotten once it has answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.bridge.proto.workflow_activation import (
    FireTimer,
    QueryWorkflow,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from fakes.graphs import document, end, node, start
from perdure import Client, Graph
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.runner import Watched

NEWS = WorkflowActivationJob(fire_timer=FireTimer(seq=1))
BY_ITSELF = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="legacy_query", query_type="status"))
WITH_A_TASK = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="7", query_type="status"))


def shown(*activations: tuple[WorkflowActivationJob, bool]) -> list[str]:
    """Show an instance these jobs, each replayed or not; which runs were forgotten."""
    forgotten: list[str] = []
    watched = Watched(lambda activation: WorkflowActivationCompletion(run_id=activation.run_id), forgotten.append)
    for job, replayed in activations:
        answer = watched(WorkflowActivation(run_id="r", jobs=[job], is_replaying=replayed))
        assert answer.run_id == "r"
    return forgotten


@pytest.mark.parametrize(
    ("activations", "forgotten"),
    [
        ([(NEWS, True), (NEWS, False), (BY_ITSELF, True)], ["r"]),
        ([(NEWS, True), (NEWS, False), (BY_ITSELF, True), (NEWS, False), (BY_ITSELF, True)], ["r"]),
        ([(NEWS, True), (BY_ITSELF, True)], []),
        ([(NEWS, True), (BY_ITSELF, True), (NEWS, False), (BY_ITSELF, True)], []),
        ([(NEWS, False), (WITH_A_TASK, True)], []),
    ],
)
def test_only_what_may_be_ahead_of_its_history_is_forgotten(
    activations: list[tuple[WorkflowActivationJob, bool]], forgotten: list[str]
) -> None:
    assert shown(*activations) == forgotten


async def test_workers_take_such_runs_out_of_memory(stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through a real worker: the first query empties its memory, those after it do not."""
    from perdure_worker import runner
    from perdure_worker.runtime import connect, make_worker

    forgotten: list[str] = []
    serve = runner.Runner.serve

    def counted(self: runner.Runner, worker: Any) -> None:
        serve(self, worker)
        forget = self.forget
        assert forget is not None, "this SDK has no way to forget a run"
        self.forget = lambda run_id: (forgotten.append(run_id), forget(run_id))[1]

    monkeypatch.setattr(runner.Runner, "serve", counted)
    settings = stack.settings.model_copy(update={"task_queue": "forgetting"})
    temporal = await connect(settings)
    ask = node("ask", "human-input", form_content="?", inputs=[], user_actions=[{"id": "go", "title": "Go"}])
    graph = Graph.from_document(document([start(), ask, end()], [("start", "ask"), ("ask", "go", "end")]))
    async with make_worker(temporal, settings), asyncio.timeout(60):
        run = await Client(temporal, settings.task_queue).start(graph)
        while not (await run.status()).forms:
            await asyncio.sleep(0.05)
        for _ in range(3):
            assert (await run.status()).status == "paused"
        assert len(forgotten) == 1
        await run.submit("ask", "go")
        assert (await run.result()).status == "succeeded"
