"""What runs have in common: commands as updates and as signals, queries, and the way from the first step to the end.

A run that performs an effect of another one tells that, meanwhile, what it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

from perdure_graph import child_runs, naming
from perdure_graph.children import ChildNews
from perdure_graph.commands import (
    Approve,
    ChildHeard,
    Command,
    Deny,
    Pause,
    Resume,
    Retry,
    SetVariables,
    Stop,
    Submit,
    WindowPaused,
)
from perdure_graph.continuation import Continuation
from perdure_graph.errors import CommandRefused, InvalidInputs, NodeError, PerdureError
from perdure_graph.graph import Graph
from perdure_graph.operate import was_given
from perdure_graph.outcomes import Outcomes, outcomes
from perdure_graph.oversize import TOO_LARGE, json_size, over_limit
from perdure_graph.request import RunResult, RunStatus
from perdure_graph.state import RunState
from perdure_graph.step import check_command
from perdure_graph.view import NEWEST_IN_DOUBT, EventPage, RunView, events_after, view
from perdure_graph.window import WindowRest

from .shell import Shell, now

_STATUS = SearchAttributeKey.for_keyword(naming.STATUS_ATTRIBUTE)
_WAITING_ON = SearchAttributeKey.for_keyword_list(naming.WAITING_ON_ATTRIBUTE)
_SETTLE = timedelta(milliseconds=1)


class Handlers:
    """A run as others meet it. A workflow inherits, opens itself in its `__init__`, and calls `_to_the_end`."""

    _shell: Shell | None = None
    _problem: PerdureError | None = None
    _ended_by_update = False
    _news: ChildNews | None = None
    _telling = False

    def _shell_of(self, graph: Graph, state: RunState, before: Continuation | None) -> Shell:
        return Shell(graph, state, before, self._watch, self._note_news, lambda: not (self._news or self._telling))

    async def _to_the_end(self) -> Shell:
        """Run to the end.

        Raises:
            ApplicationError: the run cannot begin.
        """
        if self._shell is None:
            raise ApplicationError(str(self._problem), type=type(self._problem).__name__, non_retryable=True)
        shell = self._shell
        telling = asyncio.create_task(self._tell()) if shell.state.called else None
        try:
            if (continuation := await shell.drive()) is not None:
                workflow.continue_as_new(continuation)
        except asyncio.CancelledError:
            shell.apply(Stop(reason="cancelled"))
            await shell.close()
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        finally:
            if telling is not None:
                telling.cancel()
        if shell.crash is not None:
            # A bug of ours: fail the workflow task, so that the run goes on once the code is mended.
            raise shell.crash
        if self._ended_by_update:
            # A task that completes the workflow fails when a reply has just come in, and an update in it is lost.
            # So the update gets a task of its own: once it has returned, it is in the history.
            await workflow.sleep(_SETTLE)
        await shell.close()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return shell

    def _note_news(self, *, anyway: bool = False) -> None:
        """Note what the run around this one is to be told; only the newest counts."""
        if self._shell is not None and self._shell.state.called and not self._shell.state.ended:
            self._news = child_runs.news(self._shell.graph, self._shell.state, anyway=anyway) or self._news

    async def _tell(self) -> None:
        parent = workflow.info().parent
        while parent is not None:
            await workflow.wait_condition(lambda: self._news is not None)
            news, self._news, self._telling = self._news, None, True
            with suppress(ApplicationError):
                # It has ended, and this one is about to hear of it.
                await workflow.get_external_workflow_handle(parent.workflow_id).signal(naming.CHILD_NEWS, news)
            self._telling = False

    @property
    def _running(self) -> Shell:
        if self._shell is None:
            raise CommandRefused(f"this run never started: {self._problem}")
        return self._shell

    @property
    def _run_state(self) -> RunState:
        return self._running.state

    def _watch(self, _before: RunStatus, _after: RunStatus) -> None:
        self._show()

    def _show(self) -> None:
        """Tell the Temporal UI where the run is. Attributes change only if the run was started with them."""
        state = self._run_state
        waiting = child_runs.waiting_on(state)
        workflow.set_current_details(
            f"**{state.status}** after {state.steps} steps" + "".join(f"\n- waits for `{key}`" for key in waiting)
        )
        if _STATUS in workflow.info().typed_search_attributes:
            # The SDK leaves the type parameter of its updates open.
            workflow.upsert_search_attributes(  # pyright: ignore[reportUnknownMemberType]
                [_STATUS.value_set(state.status), _WAITING_ON.value_set(waiting)]
            )

    def _check(self, command: Command) -> None:
        try:
            check_command(self._running.graph, self._run_state, command)
        except CommandRefused as error:
            raise ApplicationError(str(error), type="CommandRefused", non_retryable=True) from error

    def _signalled(self, command: Command) -> None:
        """Apply a command that nobody waits for; one that does not fit changes nothing."""
        try:
            check_command(self._running.graph, self._run_state, command)
        except CommandRefused as error:
            workflow.logger.warning("signal ignored: %s", error)
        else:
            self._running.deliver(command)
        if self._run_state.called:
            # Perhaps it was the run around this one: it takes what it passes on for done.
            self._note_news(anyway=True)

    @workflow.signal(name=naming.PAUSE)
    def pause_signal(self, command: Pause = Pause()) -> None:  # noqa: B008 - frozen
        """Pause; see `Pause`."""
        self._signalled(command)

    @workflow.signal(name=naming.RESUME)
    def resume_signal(self, command: Resume = Resume()) -> None:  # noqa: B008 - frozen
        """Resume; see `Resume`."""
        self._signalled(command)

    @workflow.signal(name=naming.STOP)
    def stop_signal(self, command: Stop = Stop()) -> None:  # noqa: B008 - frozen
        """Stop; see `Stop`."""
        self._signalled(command)

    @workflow.signal(name=naming.SUBMIT)
    def submit_signal(self, command: Submit) -> None:
        """Answer a form; see `Submit`."""
        self._signalled(command)

    @workflow.signal(name=naming.SET_VARIABLES)
    def set_variables_signal(self, command: SetVariables) -> None:
        """Overwrite variables; see `SetVariables`."""
        self._signalled(command)

    @workflow.signal(name=naming.RETRY)
    def retry_signal(self, command: Retry) -> None:
        """Run a held node again; see `Retry`."""
        self._signalled(command)

    @workflow.signal(name=naming.APPROVE)
    def approve_signal(self, command: Approve) -> None:
        """Let a call be made; see `Approve`."""
        self._signalled(command)

    @workflow.signal(name=naming.DENY)
    def deny_signal(self, command: Deny) -> None:
        """Have a call not made; see `Deny`."""
        self._signalled(command)

    @workflow.signal(name=naming.WINDOW_REST)
    def window_rest(self, news: WindowRest) -> None:
        """Hear from a window that it is at rest, or is not any more."""
        self._running.deliver(WindowPaused(news.key, news.paused))

    @workflow.signal(name=naming.CHILD_NEWS)
    def child_news(self, news: ChildNews) -> None:
        """Hear from a child what it waits for."""
        waiting = child_runs.waiting_on(self._run_state)
        self._running.deliver(ChildHeard(news))
        if not self._run_state.ended and child_runs.waiting_on(self._run_state) != waiting:
            self._show()

    @workflow.update(name=naming.PAUSE)
    def pause(self, command: Pause = Pause()) -> RunView:  # noqa: B008 - frozen
        """Pause and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.RESUME)
    def resume(self, command: Resume = Resume()) -> RunView:  # noqa: B008 - frozen
        """Resume and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.STOP)
    async def stop(self, command: Stop = Stop()) -> RunView:  # noqa: B008 - frozen
        """Stop; once this returns, no effect starts any more, here or in a child workflow, and none is on its way."""
        answer = self._updated(command)
        await self._running.settle()
        return answer

    @workflow.update(name=naming.SUBMIT)
    def submit(self, command: Submit) -> RunView:
        """Answer a form and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.SET_VARIABLES)
    def set_variables(self, command: SetVariables) -> RunView:
        """Overwrite variables and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.RETRY)
    def retry(self, command: Retry) -> RunView:
        """Run a held node again and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.APPROVE)
    def approve(self, command: Approve) -> RunView:
        """Let a call be made that waits for approval, and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.DENY)
    def deny(self, command: Deny) -> RunView:
        """Have a call not made that waits for approval, and say where the run is."""
        return self._updated(command)

    @pause.validator
    def _check_pause(self, command: Pause = Pause()) -> None:  # noqa: B008 - frozen
        self._check(command)

    @resume.validator
    def _check_resume(self, command: Resume = Resume()) -> None:  # noqa: B008 - frozen
        self._check(command)

    @stop.validator
    def _check_stop(self, command: Stop = Stop()) -> None:  # noqa: B008 - frozen
        self._check(command)

    @submit.validator
    def _check_submit(self, command: Submit) -> None:
        self._check(command)

    @set_variables.validator
    def _check_set_variables(self, command: SetVariables) -> None:
        self._check(command)

    @retry.validator
    def _check_retry(self, command: Retry) -> None:
        self._check(command)

    @approve.validator
    def _check_approve(self, command: Approve) -> None:
        self._check(command)

    @deny.validator
    def _check_deny(self, command: Deny) -> None:
        self._check(command)

    def _updated(self, command: Command) -> RunView:
        self._running.deliver(command)
        self._ended_by_update = self._run_state.ended
        return self.status()

    @workflow.query(name=naming.STATUS)
    def status(self) -> RunView:
        """Where the run is."""
        return view(self._running.graph, self._run_state, now())

    @workflow.query(name=naming.EVENTS)
    def events(self, after: int = 0) -> EventPage:
        """Events numbered above `after`, one page."""
        return events_after(self._run_state, after, now() if NEWEST_IN_DOUBT.get() else None)

    @workflow.query(name=naming.VARIABLES)
    def variables(self) -> dict[str, Any]:
        """All variables of the top frame, by node."""
        return dict(self._run_state.root.scope or {})

    @workflow.query(name=naming.GIVEN)
    def given(self, id: str) -> bool:
        """Whether a command with this id was applied: what a sender of signals cannot know otherwise."""
        return was_given(self._run_state, id)

    @workflow.query(name=naming.OUTCOMES)
    def outcomes(self) -> Outcomes:
        """How the nodes of the top frame ended: what a fork can take over."""
        return outcomes(self._running.graph, self._run_state)


def answered(answer: Callable[[], Any], limit: int) -> Any:
    """Give what a run within another answers, or fail the workflow, and with it the effect.

    Raises:
        ApplicationError: it failed, or its answer is too large.
    """
    try:
        reply = answer()
    except NodeError as error:
        raise ApplicationError(error.message, type=error.error_type, non_retryable=True) from error
    _check_size(reply, limit)
    return reply


def concluded(outcome: RunResult, limit: int) -> RunResult:
    """Return the result, or fail the workflow with it; a result too large to return fails by name."""
    _check_size(outcome, limit)
    if outcome.error is not None:
        raise ApplicationError(
            f"node {outcome.error.title or outcome.error.node!r}: {outcome.error.message}",
            outcome,
            type=outcome.error.type,
            non_retryable=True,
        )
    return outcome


def _check_size(outcome: Any, limit: int) -> None:
    size = json_size(outcome)
    if size > limit:
        sizes = over_limit(outcome, size, limit)
        raise ApplicationError(f"the run gives {sizes}. Return less, or a file.", type=TOO_LARGE, non_retryable=True)


def in_words(error: ValidationError, kind: str, what: str) -> InvalidInputs:
    """Say why the input of a workflow cannot be read."""
    problems = "; ".join(
        f"{'.'.join(str(part) for part in detail['loc']) or 'input'}: {detail['msg']}" for detail in error.errors()[:5]
    )
    return InvalidInputs(f"the input of {kind} is no {what} ({problems}).")
