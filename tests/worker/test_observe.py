"""Logs of workflow code: once per line although history is replayed on every task, bound to their run."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from perdure_worker.embedded import EmbeddedStack
from perdure_worker.observe import LogContext, drop_replayed

REPLAYS: list[bool] = []


@workflow.defn(sandboxed=False)
class Talker:
    @workflow.run
    async def run(self) -> None:
        for turn in range(3):
            REPLAYS.append(workflow.unsafe.is_replaying_history_events())
            structlog.get_logger().info("turn", turn=turn)
            await workflow.sleep(0.01)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []

    def keep(_logger: object, _method: str, event: Any) -> Any:
        seen.append(dict(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(
        processors=[drop_replayed, structlog.contextvars.merge_contextvars, keep], cache_logger_on_first_use=False
    )
    yield seen
    structlog.configure(**before)


async def test_each_line_is_logged_once_under_forced_replay(stack: EmbeddedStack, lines: list[dict[str, Any]]) -> None:
    queue, run_id = f"talk-{uuid.uuid4()}", f"talk-{uuid.uuid4()}"
    async with Worker(
        stack.client,
        task_queue=queue,
        workflows=[Talker],
        interceptors=[LogContext()],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    ):
        await stack.client.execute_workflow(Talker.run, id=run_id, task_queue=queue)
    assert any(REPLAYS)
    mine = [line for line in lines if line["event"] == "turn"]
    assert [line["turn"] for line in mine] == [0, 1, 2]
    assert {line["workflow_id"] for line in mine} == {run_id}
