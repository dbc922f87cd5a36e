"""Replay histories against the code of this process: does it still do what it did, command for command?"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from google.protobuf.json_format import ParseError
from pydantic import BaseModel, ConfigDict
from temporalio.client import Client, WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from perdure_graph import naming
from perdure_graph.errors import InvalidInputs, PlatformError

from . import plugins
from .runtime import sandbox
from .settings import package_version

TYPES = (naming.WORKFLOW_TYPE, naming.AGENT_TYPE, naming.WINDOW_TYPE, naming.LOG_TYPE)


class Replayed(BaseModel):
    """How the replay of one history ended. `error` says in words why this code cannot take it over, None if it can.

    run_id: id of the run or of its child, as `perdure` and Temporal's workflow id have it.
    deterministic: False when this code does something else than what the history holds; a replay can also fail
        because a history cannot be read.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    workflow_type: str
    events: int
    error: str | None = None
    deterministic: bool = True


async def replay(
    histories: AsyncIterator[WorkflowHistory],
    converter: DataConverter,
    *,
    namespace: str = naming.NAMESPACE,
    workflows: Sequence[type] | None = None,
) -> AsyncIterator[Replayed]:
    """Replay histories one after the other, in the sandbox of a worker; by default with all registered workflows."""
    modules = plugins.passthrough_modules()
    plugins.warm(modules)
    replayer = Replayer(
        workflows=plugins.workflows() if workflows is None else workflows,
        workflow_runner=sandbox(modules),
        data_converter=converter,
        namespace=namespace,
        # Without one the SDK hashes every loaded module.
        build_id=package_version(),
    )
    async with replayer.workflow_replay_iterator(histories) as results:
        async for result in results:
            failure = result.replay_failure
            yield Replayed(
                run_id=result.history.workflow_id,
                workflow_type=_type_of(result.history),
                events=len(result.history.events),
                error=None if failure is None else explain(failure),
                deterministic=not isinstance(failure, NondeterminismError),
            )


async def open_histories(
    client: Client, *, limit: int, task_queue: str | None = None
) -> AsyncIterator[WorkflowHistory]:
    """Fetch the histories of the open runs and of their children, newest first, at most `limit`."""
    types = ", ".join(f"'{name}'" for name in TYPES)
    query = f"ExecutionStatus = 'Running' AND WorkflowType IN ({types})"
    if task_queue is not None:
        if "'" in task_queue or "\\" in task_queue:
            raise InvalidInputs(f"{task_queue!r} is no name of a task queue", field="task_queue")
        query += f" AND TaskQueue = '{task_queue}'"
    async for found in client.list_workflows(query, limit=limit):
        handle = client.get_workflow_handle(found.id, run_id=found.run_id)
        try:
            history = await handle.fetch_history()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                continue  # it ended and was removed meanwhile
            raise PlatformError(f"the history of {found.id!r} cannot be read: {error.message}") from error
        if _has_begun(history):
            yield history


def _has_begun(history: WorkflowHistory) -> bool:
    # Before the first task there is nothing that this code could do otherwise.
    return any(event.HasField("workflow_task_completed_event_attributes") for event in history.events)


def read_histories(paths: Iterable[Path]) -> list[WorkflowHistory]:
    """Read histories from files: Temporal's JSON, as the recorder, the web UI and `temporal workflow show` write it.

    Raises:
        InvalidInputs: names the file that holds none.
    """
    return [_read(path) for path in paths]


def _read(path: Path) -> WorkflowHistory:
    try:
        history = WorkflowHistory.from_json(path.stem, json.loads(path.read_text(encoding="utf-8")))
        history.run_id  # noqa: B018 - the check that it begins like a history
    except (OSError, ValueError, ParseError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputs(f"{str(path)!r} is no history of a run in JSON: {error}", field="file") from error
    # Ids of children are made of the run's own, so the name of the file will not do.
    named = history.events[0].workflow_execution_started_event_attributes.workflow_id
    return WorkflowHistory(named or path.stem, history.events)


def _type_of(history: WorkflowHistory) -> str:
    return history.events[0].workflow_execution_started_event_attributes.workflow_type.name


def explain(failure: Exception) -> str:
    """Say why a replay failed in the words of runs; what the SDK's core said itself follows in brackets."""
    quoted = _MESSAGE.search(str(failure))
    said = (quoted[1] if quoted else str(failure)).replace('\\"', '"').removeprefix(_PREFIX)
    if not isinstance(failure, NondeterminismError):
        return f"this code fails where the run went on ({said})"
    return f"this code does not do what the run did{_difference(said)} ({said})"


def _difference(said: str) -> str:
    if other := _OTHER.search(said):
        return f": the run has {other[1].lower()} {other[2]!r}, this code {other[3]!r}"
    event, machine = _EVENT.search(said), _MACHINE.search(said)
    if event is None:
        return ""
    did = _DID.get(event[2], f"has {event[2]!r}")
    does = _DOES.get(machine[1], "does something else") if machine else "does nothing"
    return f": at event {event[1]} the run {did}, this code {does}"


_PREFIX = "[TMPRL1100] Nondeterminism error: "
_MESSAGE = re.compile(r'message: "((?:[^"\\]|\\.)*)"')
_OTHER = re.compile(r"^([\w ]+?) of scheduled event '([^']*)' does not match [\w ]+ command '([^']*)'")
_EVENT = re.compile(r"HistoryEvent\(id: (\d+), (?:Some\()?(\w+)\)?\)")
_MACHINE = re.compile(r"(\w+) machine does not handle this event")

_DID = {
    "ActivityTaskScheduled": "asked for an effect",
    "ActivityTaskCancelRequested": "cancelled an effect",
    "TimerStarted": "started a timer",
    "TimerCanceled": "cancelled a timer",
    "StartChildWorkflowExecutionInitiated": "started a child",
    "WorkflowExecutionCompleted": "ended",
    "WorkflowExecutionFailed": "failed",
    "WorkflowExecutionContinuedAsNew": "moved to a fresh history",
    "UpsertWorkflowSearchAttributes": "changed its attributes",
}
_DOES = {
    "Activity": "asks for an effect",
    "Timer": "starts a timer",
    "ChildWorkflow": "starts a child",
    "CompleteWorkflow": "ends it",
    "FailWorkflow": "fails it",
    "ContinueAsNewWorkflow": "moves it to a fresh history",
    "UpsertSearchAttributes": "changes its attributes",
}
