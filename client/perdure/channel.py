"""Speaking with one run: queries that wait for a worker, updates that arrive once, and what their failures mean."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any, Protocol, cast

from temporalio.client import (
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError, RPCStatusCode

from perdure_graph import naming
from perdure_graph.commands import Command
from perdure_graph.errors import CommandRefused, PerdureError, PlatformError, RunNotFound
from perdure_graph.request import RunResult
from perdure_graph.view import RunView

from .workers import end_of

_AGAIN_S = 0.5
_UPDATE_TRIES = 20
_UPDATE_PAUSE_S = 0.05
_RPC_TIMEOUT = timedelta(seconds=10)
BRIEFLY = timedelta(seconds=2)
# A timeout of the client's own arrives as "cancelled".
NO_WORKER = (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.CANCELLED)
# What an update meets in a run that is just moving to a fresh history, as well as in one that has ended.
_GONE = (RPCStatusCode.NOT_FOUND, RPCStatusCode.ABORTED)
_LOST_UPDATE = "AcceptedUpdateCompletedWorkflow"


class _Updates(Protocol):
    """The part of a workflow handle whose overloads the SDK types only in part."""

    async def execute_update(self, update: str, arg: object, *, id: str, result_type: type[RunView]) -> RunView: ...


class Channel:
    """The way to one run."""

    def __init__(self, workflow: WorkflowHandle[Any, RunResult]) -> None:
        self.workflow = workflow

    @property
    def run_id(self) -> str:
        """Id of the run."""
        return self.workflow.id

    def wrapped(self, error: RPCError) -> PerdureError:
        """Say what an error of the server means."""
        if error.status is RPCStatusCode.NOT_FOUND:
            return RunNotFound(f"there is no run {self.run_id!r} here; `perdure list` shows those that exist.")
        return PlatformError(f"the Temporal server did not answer for run {self.run_id!r}: {error.message}")

    async def update(self, name: str, command: Command) -> RunView:
        """Give a command, once, and show the run after it.

        Raises:
            CommandRefused: the run does not take it now, or has ended.
            RunNotFound: no such run.
        """
        updates = cast("_Updates", self.workflow)
        # One id for all tries: a command that did arrive is answered again, not given again.
        update_id = str(uuid.uuid4())
        for again in range(_UPDATE_TRIES, -1, -1):
            try:
                return await updates.execute_update(name, command, id=update_id, result_type=RunView)
            except WorkflowUpdateFailedError as error:
                lost = getattr(error.cause, "type", None) == _LOST_UPDATE
                if not (lost and again and await self._is_open()):
                    raise CommandRefused(message_of(error.cause)) from error
            except RPCError as error:
                # The workflow task met a reply that had just come in, and is tried anew without the update; or the
                # run has just moved to a fresh history.
                moved = error.status in _GONE and again and await self._is_open()
                if not moved and (error.status is not RPCStatusCode.FAILED_PRECONDITION or not again):
                    closed = await self._closed(name, error)
                    if isinstance(closed, CommandRefused) and (view := await self._had(command)) is not None:
                        return view
                    raise closed from error
            await asyncio.sleep(_UPDATE_PAUSE_S)
        raise AssertionError("the last try returns or raises")

    async def _is_open(self) -> bool:
        try:
            return (await self.workflow.describe()).status is WorkflowExecutionStatus.RUNNING
        except RPCError:
            return False

    async def _had(self, command: Command) -> RunView | None:
        """Show a run that has ended if it had this command before: then only the answer was lost."""
        try:
            given: bool = await self.ask(naming.GIVEN, bool, command.id, within=BRIEFLY)
            return await self.ask(naming.STATUS, RunView, within=BRIEFLY) if given else None
        except (RPCError, CommandRefused):
            return None

    async def _closed(self, name: str, error: RPCError) -> PerdureError:
        """Say why a command found no open run: it has ended, or there is none."""
        found = self.wrapped(error)
        if error.status not in _GONE:
            return found
        try:
            ended = end_of(await self.workflow.describe())
        except RPCError:
            return found
        return CommandRefused(f"cannot {name.replace('_', ' ')}: run {self.run_id!r} has ended ({ended}).")

    async def describe(self) -> WorkflowExecutionDescription:
        """Give what the server itself knows of the run.

        Raises:
            RunNotFound: no such run.
        """
        try:
            return await self.workflow.describe()
        except RPCError as error:
            raise self.wrapped(error) from error

    async def query(self, name: str, kind: Any, *args: Any) -> Any:
        """Ask the run, for as long as it takes until a worker answers.

        Raises:
            RunNotFound: no such run.
        """
        while True:
            try:
                return await self.ask(name, kind, *args)
            except RPCError as error:
                # No worker answered in time: runs outlive workers, so wait for the next one.
                if error.status not in NO_WORKER:
                    raise self.wrapped(error) from error
                await asyncio.sleep(_AGAIN_S)

    async def ask(self, name: str, kind: Any, *args: Any, within: timedelta = _RPC_TIMEOUT) -> Any:
        """Ask the run once; errors of the server are passed on as they are."""
        try:
            return await self.workflow.query(name, args=args, result_type=kind, rpc_timeout=within)
        except WorkflowQueryFailedError as error:
            raise CommandRefused(f"run {self.run_id!r} cannot answer {name!r}: {error.message}") from error


def message_of(cause: BaseException | None) -> str:
    """Give the text of an error of a workflow."""
    return getattr(cause, "message", None) or str(cause)
