"""A run that a query brought into memory, events and all, is forgotten; what no task has handled is not shown."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.bridge.proto.workflow_activation import (
    FireTimer,
    QueryWorkflow,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

from fakes.graphs import document, end, node, start
from perdure import Client, Graph
from perdure_graph.view import NEWEST_IN_DOUBT
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.runner import Waiting, Watched

NEWS = WorkflowActivationJob(fire_timer=FireTimer(seq=1))
BY_ITSELF = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="legacy_query", query_type="status"))
WITH_A_TASK = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="7", query_type="status"))


def shown(*activations: tuple[WorkflowActivationJob, bool]) -> list[str]:
    """Show an instance these jobs, each of a task of its own, replayed or not; which runs were forgotten."""
    forgotten: list[str] = []
    watched = Watched(_activate, forgotten.append, Waiting())
    for task, (job, replayed) in enumerate(activations, 1):
        at = Timestamp(seconds=task)
        answer = watched(
            WorkflowActivation(run_id="r", jobs=[job], is_replaying=replayed, timestamp=at, history_length=task)
        )
        assert answer == _activate(WorkflowActivation(run_id="r"))
    return forgotten


def _activate(activation: WorkflowActivation) -> WorkflowActivationCompletion:
    return WorkflowActivationCompletion(run_id=activation.run_id)


def doubted(waiting: Waiting, *tasks: tuple[int, int, WorkflowActivationJob], over: bool = False) -> list[bool]:
    """Show an instance jobs, each with the time of its task and the length of the history; for each query whether the
    run was told that what came last is in doubt."""
    found: list[bool] = []

    def activate(activation: WorkflowActivation) -> WorkflowActivationCompletion:
        if activation.jobs[0].HasField("query_workflow"):
            found.append(NEWEST_IN_DOUBT.get())
        completion = _activate(activation)
        if over:
            completion.successful.commands.add().complete_workflow_execution.SetInParent()
        return completion

    watched = Watched(activate, lambda _: None, waiting)
    for seconds, length, job in tasks:
        at = Timestamp(seconds=seconds)
        watched(WorkflowActivation(run_id="r", jobs=[job], timestamp=at, history_length=length))
    assert not NEWEST_IN_DOUBT.get()
    return found


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_what_no_task_has_handled_is_in_doubt() -> None:
    ahead = [(1, 3, NEWS), (2, 9, NEWS), (2, 13, NEWS), (2, 13, BY_ITSELF)]
    assert doubted(Waiting(), *ahead) == [True]
    assert doubted(Waiting(), *ahead, (2, 13, BY_ITSELF), (3, 15, NEWS), (3, 15, BY_ITSELF)) == [True, True, False]
    # A query that comes with a task.
    assert doubted(Waiting(), *ahead[:-1], (2, 13, WITH_A_TASK)) == [False]


def test_what_a_worker_may_have_taken_and_not_completed_is_in_doubt(now: list[float]) -> None:
    """Only for the first who asks by himself, and not of a run that is over."""
    task = [(1, 3, NEWS), (2, 9, NEWS), (2, 9, BY_ITSELF), (2, 9, BY_ITSELF)]
    assert doubted(Waiting(), *task) == [True, False]
    assert doubted(Waiting(), *task, over=True) == [False, False]


def test_what_came_long_before_was_not_brought_by_a_query(now: list[float]) -> None:
    found: list[bool] = []

    def activate(activation: WorkflowActivation) -> WorkflowActivationCompletion:
        found.append(NEWEST_IN_DOUBT.get())
        return _activate(activation)

    watched = Watched(activate, lambda _: None, Waiting())
    watched(WorkflowActivation(run_id="r", jobs=[NEWS], timestamp=Timestamp(seconds=1), history_length=3))
    now[0] += 2
    watched(WorkflowActivation(run_id="r", jobs=[BY_ITSELF], timestamp=Timestamp(seconds=1), history_length=3))
    assert found == [False, False]


def test_on_a_server_whose_clock_stands_still_all_is_shown_in_the_end(now: list[float]) -> None:
    waiting = Waiting()
    ahead = [(1, 3, NEWS), (1, 9, NEWS), (1, 9, BY_ITSELF)]
    assert doubted(waiting, *ahead) == [True]
    now[0] += 29
    assert doubted(waiting, *ahead) == [True]
    now[0] += 2
    assert doubted(waiting, *ahead) == [False]
    assert doubted(waiting, *ahead[:-1], (1, 12, NEWS), (1, 12, BY_ITSELF)) == [True]


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
