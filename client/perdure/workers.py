"""Whether anybody polls the task queues that a run needs: what a run cannot know of itself."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio.api.enums.v1 import PendingActivityState, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey

from perdure_graph import naming
from perdure_graph.request import ENDED, RunStatus
from perdure_graph.view import RunView

# A worker polls anew after a minute at the latest; the server remembers pollers for five.
_FRESH = timedelta(seconds=70)
# An effect waits so long for a worker before anybody is asked why.
_PICKUP = timedelta(seconds=2)

_STATUS = SearchAttributeKey.for_keyword(naming.STATUS_ATTRIBUTE)
_GRAPH = SearchAttributeKey.for_keyword(naming.GRAPH_ATTRIBUTE)
_HASH = SearchAttributeKey.for_keyword(naming.GRAPH_HASH_ATTRIBUTE)
_STATUSES: dict[str, RunStatus] = {
    "running": "running",
    "pausing": "pausing",
    "paused": "paused",
    "succeeded": "succeeded",
    "partial-succeeded": "partial-succeeded",
    "failed": "failed",
    "stopped": "stopped",
}


async def has_worker(temporal: TemporalClient, queue: str, *, activities: bool = False) -> bool:
    """Whether somebody polled a task queue of late. After a worker's death the answer stays yes for a minute."""
    kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY if activities else TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
    described = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(namespace=temporal.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind)
    )
    now = datetime.now(UTC)
    return any(now - poller.last_access_time.ToDatetime(UTC) < _FRESH for poller in described.pollers)


async def deserted_queues(temporal: TemporalClient, described: WorkflowExecutionDescription) -> list[str]:
    """List the task queues on which an effect of a run waits while nobody polls them."""
    now = datetime.now(UTC)
    waiting = {
        activity.activity_options.task_queue.name or described.task_queue
        for activity in _pending(described)
        if activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
        and not activity.HasField("last_started_time")
        and now - activity.scheduled_time.ToDatetime(UTC) > _PICKUP
    }
    return [queue for queue in sorted(waiting) if not await has_worker(temporal, queue, activities=True)]


def _pending(described: WorkflowExecutionDescription) -> Iterable[Any]:
    return described.raw_description.pending_activities


def view_from_outside(described: WorkflowExecutionDescription) -> RunView:
    """Show what the server knows of a run that no worker speaks for."""
    attributes = described.typed_search_attributes
    until = described.close_time or datetime.now(UTC)
    return RunView(
        run_id=described.id,
        graph=attributes.get(_GRAPH, ""),
        graph_hash=attributes.get(_HASH, ""),
        status=_status(described.status, attributes.get(_STATUS, "running")),
        reasons=[],
        forms=[],
        nodes=[],
        outputs={},
        error=None,
        exceptions_count=0,
        steps=0,
        seq=0,
        started_at=int(described.start_time.timestamp() * 1000),
        elapsed=(until - described.start_time).total_seconds(),
        waiting_for_worker=described.close_time is None,
        queues=[described.task_queue] if described.close_time is None else [],
    )


def end_of(described: WorkflowExecutionDescription) -> str:
    """Say how a run ended: its own status, or what ended it from outside."""
    match described.status:
        case WorkflowExecutionStatus.TERMINATED | WorkflowExecutionStatus.TIMED_OUT as ended:
            return ended.name.lower().replace("_", " ")
        case _:
            pass
    status = _status(described.status, described.typed_search_attributes.get(_STATUS, "running"))
    # A run that was not started by our client may not show its status.
    return status if status in ENDED else "completed"


def _status(execution: WorkflowExecutionStatus | None, shown: str) -> RunStatus:
    match execution:
        case WorkflowExecutionStatus.TERMINATED | WorkflowExecutionStatus.TIMED_OUT | WorkflowExecutionStatus.FAILED:
            return "failed"
        case WorkflowExecutionStatus.CANCELED:
            return "stopped"
        case _:
            return _STATUSES.get(shown, "running")
