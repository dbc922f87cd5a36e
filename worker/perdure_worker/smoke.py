"""A trivial run on a worker of this process: building a worker finds no sandbox failure, a run does."""

from __future__ import annotations

import asyncio
import os
import uuid
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from perdure_graph.errors import PlatformError
from perdure_graph.naming import WORKFLOW_TYPE
from perdure_graph.request import RunRequest

from .runtime import make_worker
from .settings import WorkerSettings

LIMIT_S = 10.0


async def smoke(client: Client, task_queue: str, *, limit_s: float = LIMIT_S) -> None:
    """Run start -> end on a queue and wait for its success.

    Raises:
        PlatformError: it failed, or was not done in time (a broken sandbox hangs a run, it does not fail it).
    """
    handle = await client.start_workflow(
        WORKFLOW_TYPE,
        trivial_request(),
        id=f"perdure-smoke-{uuid.uuid4()}",
        task_queue=task_queue,
        execution_timeout=timedelta(seconds=limit_s + 5),
        result_type=dict[str, Any],
    )
    try:
        result: dict[str, Any] = await asyncio.wait_for(handle.result(), limit_s)
    except TimeoutError as error:
        reason = await _last_task_failure(handle)
        await handle.terminate("smoke run took too long")
        raise PlatformError(
            f"The smoke run of {WORKFLOW_TYPE!r} was not done after {limit_s:.0f} s. {reason} "
            "A library that imports lazily inside workflow code must be passed through by name."
        ) from error
    except WorkflowFailureError as error:
        raise PlatformError(f"The smoke run of {WORKFLOW_TYPE!r} failed: {error.cause!r}") from error
    if result.get("status") != "succeeded":
        raise PlatformError(f"The smoke run of {WORKFLOW_TYPE!r} ended {result.get('status')!r}: {result.get('error')}")


async def smoke_worker(client: Client, settings: WorkerSettings) -> None:
    """Smoke-run a second worker of this process on a queue nobody else polls, before real work is taken.

    Raises:
        PlatformError: as `smoke`.
    """
    queue = f"{settings.task_queue}-smoke-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    trial = settings.model_copy(update={"task_queue": queue, "graceful_shutdown_s": 0.0, "versioning": False})
    async with make_worker(client, trial):
        await smoke(client, queue)


def trivial_request() -> RunRequest:
    """Write the request of the smallest run: start, then end."""
    document: dict[str, Any] = {
        "nodes": [
            {"id": "start", "data": {"type": "start", "title": "start", "variables": []}},
            {"id": "end", "data": {"type": "end", "title": "end", "outputs": []}},
        ],
        "edges": [{"source": "start", "target": "end"}],
    }
    return RunRequest.model_validate({"graph": document, "user": "smoke"})


async def _last_task_failure(handle: WorkflowHandle[Any, Any]) -> str:
    history = await handle.fetch_history()
    for event in reversed(history.events):
        if event.HasField("workflow_task_failed_event_attributes"):
            message = event.workflow_task_failed_event_attributes.failure.message
            return f"Its last workflow task failed: {message}."
    return "No worker finished its first task."
