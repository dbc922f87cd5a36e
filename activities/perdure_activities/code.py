"""The activity behind code nodes."""

from __future__ import annotations

from temporalio import activity
from temporalio.exceptions import ApplicationError

from perdure_graph.effects import CodeResult, RunCode

from .failures import user_failure
from .heartbeat import heartbeats
from .sandbox import ChildCrashed, SandboxFailure, execute


@activity.defn(name="run_code")
async def run_code(request: RunCode) -> CodeResult:
    """Run a snippet's `main` in a sandbox, heartbeating meanwhile.

    Raises:
        ApplicationError: `CodeExecutionError`, `CodeTimeoutError`, `CodeMemoryError`, `CodeOutputError` or
            `CodeSandboxError`, none of them retryable; `CodeSandboxCrashed`, which is.
    """
    async with heartbeats():
        return await execute_code(request)


async def execute_code(request: RunCode) -> CodeResult:
    """Do what `run_code` does, outside of an activity too."""
    try:
        return await execute(request)
    except SandboxFailure as failure:
        raise user_failure(failure.message, failure.error_type) from None
    except ChildCrashed as crash:
        raise ApplicationError(str(crash), type="CodeSandboxCrashed") from None
