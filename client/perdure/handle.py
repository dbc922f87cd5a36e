"""A handle on one run: watch it, command it, wait for its result."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Protocol, cast

from temporalio.client import (
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode

from perdure_graph import naming
from perdure_graph.commands import Command, Pause, Resume, Stop, Submit
from perdure_graph.errors import (
    CommandRefused,
    InvalidGraph,
    InvalidInputs,
    PerdureError,
    PlatformError,
    RunFailed,
    RunNotFound,
)
from perdure_graph.events import Event
from perdure_graph.request import RunResult
from perdure_graph.view import EventPage, RunView

_POLL_FIRST_S = 0.05
_POLL_MOST_S = 0.5
_UPDATE_TRIES = 20
_UPDATE_PAUSE_S = 0.05
_RPC_TIMEOUT = timedelta(seconds=10)
# A timeout of the client's own arrives as "cancelled".
_NO_WORKER = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.CANCELLED)


class _Updates(Protocol):
    """The part of a workflow handle whose overloads the SDK types only in part."""

    async def execute_update(self, update: str, arg: object, *, id: str, result_type: type[RunView]) -> RunView: ...


class RunHandle:
    """One run, by its id. Cheap to make; holds no connection of its own."""

    def __init__(self, workflow: WorkflowHandle[Any, RunResult]) -> None:
        self._workflow = workflow

    @property
    def run_id(self) -> str:
        """Id of the run (the workflow id in Temporal)."""
        return self._workflow.id

    async def result(self) -> RunResult:
        """Wait for the end and return the result, whatever the status; see `outputs` for one that raises.

        Raises:
            RunNotFound: no such run.
            InvalidGraph: the run was started with a graph that cannot run.
            InvalidInputs: the run was started with inputs that do not fit.
            RunFailed: it was ended from outside (terminated, timed out), so there is no result.
        """
        try:
            return await self._workflow.result()
        except WorkflowFailureError as error:
            return await self._failed(error.cause)
        except RPCError as error:
            raise self._rpc_error(error) from error

    async def outputs(self) -> dict[str, Any]:
        """Wait for the end and return the outputs.

        Raises:
            RunFailed: the run did not succeed; names the node and the error.
        """
        result = await self.result()
        if result.status in ("succeeded", "partial-succeeded"):
            return result.outputs
        cause = result.error
        raise RunFailed(
            f"run {self.run_id!r} {result.status}" + (f": node {cause.title!r}: {cause.message}" if cause else ""),
            status=result.status,
            node=cause.node if cause else "",
            error_type=cause.type if cause else "",
        )

    async def status(self) -> RunView:
        """Where the run is: status, open forms, nodes, outputs so far."""
        return await self._query(naming.STATUS, RunView)

    async def variables(self) -> dict[str, Any]:
        """All variables of the top frame, by node id."""
        return await self._query(naming.VARIABLES, dict[str, Any])

    async def events(self, after: int = 0) -> AsyncIterator[Event]:
        """Yield events in order, from the one after number `after`, until the run has ended.

        To resume later, pass the `seq` of the last event seen.
        """
        wait = _POLL_FIRST_S
        while True:
            page = await self._query(naming.EVENTS, EventPage, after)
            for event in page.events:
                yield event
                after = event.seq
            if page.ended:
                return
            wait = _POLL_FIRST_S if page.events else min(wait * 1.5, _POLL_MOST_S)
            await asyncio.sleep(wait)

    async def pause(self, reason: str = "") -> RunView:
        """Start nothing new; what is in flight finishes and is kept."""
        return await self._update(naming.PAUSE, Pause(reason=reason))

    async def resume(self) -> RunView:
        """Go on from a pause."""
        return await self._update(naming.RESUME, Resume())

    async def stop(self, reason: str = "") -> RunView:
        """End the run; when this returns, no new effect will ever start."""
        return await self._update(naming.STOP, Stop(reason=reason))

    async def submit(self, form: str, action: str, values: Mapping[str, Any] | None = None) -> RunView:
        """Answer the form `form` (key of `status().forms`, or the node's id) with one of its actions."""
        return await self._update(naming.SUBMIT, Submit(form=form, action=action, values=dict(values or {})))

    async def _update(self, name: str, command: Command) -> RunView:
        updates = cast("_Updates", self._workflow)
        # One id for all tries: a command that did arrive is answered again, not given again.
        update_id = str(uuid.uuid4())
        for again in range(_UPDATE_TRIES, -1, -1):
            try:
                return await updates.execute_update(name, command, id=update_id, result_type=RunView)
            except WorkflowUpdateFailedError as error:
                raise CommandRefused(_message(error.cause)) from error
            except RPCError as error:
                # The workflow task met a reply that had just come in, and is tried anew without the update.
                if error.status is not RPCStatusCode.FAILED_PRECONDITION or not again:
                    raise await self._closed(name, error) from error
                await asyncio.sleep(_UPDATE_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    async def _closed(self, name: str, error: RPCError) -> PerdureError:
        """Say why a command found no open run: it has ended, or there is none."""
        found = self._rpc_error(error)
        if error.status is not RPCStatusCode.NOT_FOUND:
            return found
        try:
            status = (await self._workflow.describe()).status
        except RPCError:
            return found
        ended = status.name.lower() if status else "ended"
        return CommandRefused(f"cannot {name}: run {self.run_id!r} has ended ({ended}).")

    async def _query(self, name: str, kind: Any, *args: Any) -> Any:
        while True:
            try:
                return await self._workflow.query(name, args=args, result_type=kind, rpc_timeout=_RPC_TIMEOUT)
            except WorkflowQueryFailedError as error:
                raise CommandRefused(f"run {self.run_id!r} cannot answer {name!r}: {error.message}") from error
            except RPCError as error:
                # No worker answered in time: runs outlive workers, so wait for the next one.
                if error.status not in _NO_WORKER:
                    raise self._rpc_error(error) from error
                await asyncio.sleep(_POLL_MOST_S)

    async def _failed(self, cause: BaseException | None) -> RunResult:
        match cause:
            case ApplicationError(type="InvalidGraph"):
                raise InvalidGraph(cause.message)
            case ApplicationError(type="InvalidInputs"):
                raise InvalidInputs(cause.message)
            case ApplicationError() if cause.details:
                return RunResult.model_validate(cause.details[0])
            case CancelledError():
                view = await self.status()
                return RunResult(
                    run_id=self.run_id,
                    status="stopped",
                    outputs=view.outputs,
                    steps=view.steps,
                    elapsed=view.elapsed,
                )
            case _:
                kind = getattr(cause, "type", None)
                raise RunFailed(
                    f"run {self.run_id!r} has no result: {_message(cause)}",
                    status="failed",
                    error_type=kind if isinstance(kind, str) else type(cause).__name__,
                )

    def _rpc_error(self, error: RPCError) -> PerdureError:
        if error.status is RPCStatusCode.NOT_FOUND:
            return RunNotFound(f"there is no run {self.run_id!r} here; `perdure list` shows those that exist.")
        return PlatformError(f"the Temporal server did not answer for run {self.run_id!r}: {error.message}")


def _message(cause: BaseException | None) -> str:
    return getattr(cause, "message", None) or str(cause)
