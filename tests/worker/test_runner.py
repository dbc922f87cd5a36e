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
from perdure_graph.naming import ASK_AGAIN
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


def asked(waiting: Waiting, *tasks: tuple[int, int, WorkflowActivationJob]) -> list[str]:
    """Show an instance jobs, each with the time of its task and the length of the history; what queries failed with."""
    watched, failed = Watched(_activate, lambda _: None, waiting), list[str]()
    for seconds, length, job in tasks:
        at = Timestamp(seconds=seconds)
        answer = watched(WorkflowActivation(run_id="r", jobs=[job], timestamp=at, history_length=length))
        failed += [command.respond_to_query.failed.message for command in answer.successful.commands]
    return failed


def test_what_no_task_has_handled_is_not_shown() -> None:
    ahead = [(1, 3, NEWS), (2, 9, NEWS), (2, 13, NEWS), (2, 13, BY_ITSELF)]
    assert asked(Waiting(), *ahead) == [ASK_AGAIN]
    assert asked(Waiting(), *ahead, (2, 13, BY_ITSELF), (3, 15, NEWS), (3, 15, BY_ITSELF)) == [ASK_AGAIN] * 2
    # Of one task: what a command leads to at once.
    assert asked(Waiting(), (1, 3, NEWS), (2, 9, NEWS), (2, 9, NEWS), (2, 9, BY_ITSELF)) == []
    # A query that comes with a task.
    assert asked(Waiting(), *ahead[:-1], (2, 13, WITH_A_TASK)) == []


def test_what_a_worker_may_have_taken_and_not_completed_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the events, only to the first who asks, and only right behind what came."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def failed(pause_s: float, *queries: str) -> list[bool]:
        watched, found = Watched(_activate, lambda _: None, Waiting()), list[bool]()
        watched(WorkflowActivation(run_id="r", jobs=[NEWS], timestamp=Timestamp(seconds=1), history_length=3))
        new = Timestamp(seconds=2)
        watched(WorkflowActivation(run_id="r", jobs=[NEWS], timestamp=new, history_length=9))
        now[0] += pause_s
        for query in queries:
            job = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="legacy_query", query_type=query))
            answer = watched(WorkflowActivation(run_id="r", jobs=[job], timestamp=new, history_length=9))
            found.append(bool(answer.successful.commands))
        return found

    assert failed(0.5, "events", "events") == [True, False]
    assert failed(0.5, "status", "events") == [False, False]
    assert failed(5.0, "events") == [False]


def test_a_run_that_is_over_is_shown_at_once() -> None:
    def ends(activation: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = _activate(activation)
        completion.successful.commands.add().complete_workflow_execution.SetInParent()
        return completion

    watched = Watched(ends, lambda _: None, Waiting())
    watched(WorkflowActivation(run_id="r", jobs=[NEWS], timestamp=Timestamp(seconds=1), history_length=3))
    query = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="legacy_query", query_type="events"))
    answer = watched(WorkflowActivation(run_id="r", jobs=[query], timestamp=Timestamp(seconds=1), history_length=3))
    assert not answer.successful.commands[0].HasField("respond_to_query")


def test_a_server_whose_clock_stands_still_gets_an_answer_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waiting = [100.0], Waiting()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ahead = [(1, 3, NEWS), (1, 9, NEWS), (1, 9, BY_ITSELF)]
    assert asked(waiting, *ahead) == [ASK_AGAIN]
    now[0] += 29
    assert asked(waiting, *ahead) == [ASK_AGAIN]
    now[0] += 2
    assert asked(waiting, *ahead) == []
    assert asked(waiting, *ahead[:-1], (1, 12, NEWS), (1, 12, BY_ITSELF)) == [ASK_AGAIN]


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
