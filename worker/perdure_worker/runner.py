"""The runner of workflow code: the SDK's sandbox with two of its rough edges (1.35.0) taken off.

* To read the serialization context of a payload the SDK enters the sandbox anew, several times per payload: about a
  third of what a worker spends on workflow tasks. The question reads what the run has, and runs no code of it.
* A query that finds a run in no worker's memory makes it there, from all that the history holds: also from events that
  no workflow task has handled. Core keeps the run as it is then, and its next task goes on from there, with the
  commands of both; a replay sees those events in one piece with later ones, and may find commands in another order.
  So such a run is taken out of memory once it has answered. What came last is not among the events that it shows,
  since in the end they may have another order: who asks again is answered from history.

Both reach into what the SDK keeps private, and leave it alone where that is not as expected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import Worker, WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from perdure_graph.view import NEWEST_IN_DOUBT

_QUESTIONS = ("get_serialization_context", "get_external_store_context")
# A query that comes by itself, not with a workflow task, has this id.
_BY_ITSELF = "legacy_query"
_ENDS = (
    "complete_workflow_execution",
    "fail_workflow_execution",
    "cancel_workflow_execution",
    "continue_as_new_workflow_execution",
)
# A query that brought a run into memory comes right behind what it brought there.
_RIGHT_BEHIND_S = 1.0
# A task that has been due for so long is none: a server whose clock stands still gives two tasks one time.
_SOON_S = 30.0
_MOST_WAITING = 1000

Forget = Callable[[str], None]


class Runner(SandboxedWorkflowRunner):
    """`SandboxedWorkflowRunner` for workers and replays; `forget` takes a run out of the memory of its worker."""

    forget: Forget | None = None
    _waiting: Waiting | None = None

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Make an instance; where another SDK keeps things elsewhere, as the SDK does it."""
        instance: Any = super().create_instance(det)
        inner = getattr(instance, "globals_and_locals", {}).get("__temporal_in_sandbox")
        for name in _QUESTIONS:
            if inner is not None and hasattr(inner, name):
                setattr(instance, name, getattr(inner, name))
        if self.forget is not None and self._waiting is not None:
            instance.activate = Watched(instance.activate, self.forget, self._waiting)
        return instance

    def serve(self, worker: Worker) -> None:
        """Let runs be taken out of the memory of this worker."""
        self._waiting = Waiting()
        self.forget = getattr(getattr(worker, "_bridge_worker", None), "request_workflow_eviction", None)


class Waiting:
    """Since when runs have been waiting for the task that handles what is new."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[int, float]] = {}

    def still(self, run_id: str, length: int) -> bool:
        """Whether a run whose history is this long may still be waiting."""
        now = time.monotonic()
        known, since = self._since.get(run_id, (0, now))
        if known != length:
            since = now
        self._since[run_id] = length, since
        while len(self._since) > _MOST_WAITING:
            del self._since[next(iter(self._since))]
        return now - since < _SOON_S


class Watched:
    """The activations of one run in memory.

    The first query that comes by itself tells how the run got there: for its sake when nothing new was handled before
    it, or perhaps for its sake when there was. In the second case the run is forgotten, once.

    A task has a time of its own. So events that came in without a new time are in no task yet. Those of a task may
    still come in another order, where it was never completed. That cannot be seen from here, so it is assumed of all
    that came right before such a query, unless it was the end.
    """

    def __init__(
        self,
        activate: Callable[[WorkflowActivation], WorkflowActivationCompletion],
        forget: Forget,
        waiting: Waiting,
    ) -> None:
        self._activate = activate
        self._forget = forget
        self._waiting = waiting
        self._asked = False
        # Whether something new was handled; and whether in no task.
        self._ahead = False
        self._untasked = False
        self._came = 0.0
        self._over = False
        self._length = 0
        self._time = 0, 0

    def __call__(self, activation: WorkflowActivation) -> WorkflowActivationCompletion:
        """Pass an activation on; ask first for the run to be forgotten after it, if need be."""
        queries = [job.query_workflow for job in activation.jobs if job.HasField("query_workflow")]
        if not queries:
            self._note(activation)
        elif queries[0].query_id == _BY_ITSELF and (self._untasked or not self._asked):
            doubt = self._untasked or self._may_be_brought
            self._asked = True
            if self._ahead:
                self._forget(activation.run_id)
            if doubt and self._waiting.still(activation.run_id, self._length):
                return self._in_doubt(activation)
        completion = self._activate(activation)
        # Nothing comes behind the end of a run.
        self._over = self._over or any(
            command.WhichOneof("variant") in _ENDS for command in completion.successful.commands
        )
        return completion

    def _in_doubt(self, activation: WorkflowActivation) -> WorkflowActivationCompletion:
        token = NEWEST_IN_DOUBT.set(True)
        try:
            return self._activate(activation)
        finally:
            NEWEST_IN_DOUBT.reset(token)

    @property
    def _may_be_brought(self) -> bool:
        return self._ahead and not self._over and time.monotonic() - self._came < _RIGHT_BEHIND_S

    def _note(self, activation: WorkflowActivation) -> None:
        if not activation.is_replaying:
            self._ahead, self._came = True, time.monotonic()
        if activation.history_length > self._length:
            time_ = activation.timestamp.seconds, activation.timestamp.nanos
            self._untasked = time_ == self._time
            self._length, self._time = activation.history_length, time_
