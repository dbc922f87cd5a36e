"""A sandbox that reads the serialization context of a payload without entering itself anew.

The SDK (1.35.0) asks for the context several times per payload, and runs restricted code for each: about a third of
the time that a worker spends on workflow tasks. The question reads what the run already has, and runs no code of it.
"""

from __future__ import annotations

from typing import Any

from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

_QUESTIONS = ("get_serialization_context", "get_external_store_context")


class ContextReader(SandboxedWorkflowRunner):
    """`SandboxedWorkflowRunner` whose instances answer such questions directly; code of a run stays restricted."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        """Make an instance; where another SDK keeps things elsewhere, as the SDK does it."""
        instance: Any = super().create_instance(det)
        inner = getattr(instance, "globals_and_locals", {}).get("__temporal_in_sandbox")
        for name in _QUESTIONS:
            if inner is not None and hasattr(inner, name):
                setattr(instance, name, getattr(inner, name))
        return instance
