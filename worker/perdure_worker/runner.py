"""The runner of workflow code: the SDK's sandbox with two of its rough edges (1.35.0) taken off.

* To read the serialization context of a payload the SDK enters the sandbox anew, several times per payload: about a
  third of what a worker spends on workflow tasks. The question reads what the run has, and runs no code of it.
* A query that finds a run in no worker's memory makes it there, from all that the history holds: also from events that
  no workflow task has handled. Core keeps the run as it is then, and its next task goes on from there, with the
  commands of both; a replay sees those events in one piece with later ones, and may find commands in another order.
  So such a run is taken out of memory once it has answered.

Both reach into what the SDK keeps private, and leave it alone where that is not as expected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import Worker, WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

_QUESTIONS = ("get_serialization_context", "get_external_store_context")
# A query that comes by itself, not with a workflow task, has this id.
_BY_ITSELF = "legacy_query"

Forget = Callable[[str], None]


class Runner(SandboxedWorkflowRunner):
    """`SandboxedWorkflowRunner` for workers and replays; `forget` takes a run out of the memory of its worker."""

    forget: Forget | None = None

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Make an instance; where another SDK keeps things elsewhere, as the SDK does it."""
        instance: Any = super().create_instance(det)
        inner = getattr(instance, "globals_and_locals", {}).get("__temporal_in_sandbox")
        for name in _QUESTIONS:
            if inner is not None and hasattr(inner, name):
                setattr(instance, name, getattr(inner, name))
        if self.forget is not None:
            instance.activate = Watched(instance.activate, self.forget)
        return instance

    def serve(self, worker: Worker) -> None:
        """Let runs be taken out of the memory of this worker."""
        self.forget = getattr(getattr(worker, "_bridge_worker", None), "request_workflow_eviction", None)


class Watched:
    """The activations of one run in memory.

    The first query that comes by itself tells how the run got there: for its sake when nothing new was handled before
    it, or perhaps for its sake when there was. In the second case the run is forgotten, once.
    """

    def __init__(self, activate: Callable[[WorkflowActivation], WorkflowActivationCompletion], forget: Forget) -> None:
        self._activate = activate
        self._forget = forget
        self._ahead = False
        self._asked = False

    def __call__(self, activation: WorkflowActivation) -> WorkflowActivationCompletion:
        """Pass an activation on; ask first for the run to be forgotten after it, if need be."""
        queries = [job.query_workflow.query_id for job in activation.jobs if job.HasField("query_workflow")]
        if not queries and not activation.is_replaying:
            self._ahead = True
        elif not self._asked and _BY_ITSELF in queries:
            self._asked = True
            if self._ahead:
                self._forget(activation.run_id)
        return self._activate(activation)
