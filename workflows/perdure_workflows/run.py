"""GraphRun: one run of one graph, as one Temporal workflow."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError

from perdure_graph import naming
from perdure_graph.commands import Begin, Command, Input, Pause, Resume, Stop, Submit
from perdure_graph.errors import CommandRefused, InvalidInputs, PerdureError
from perdure_graph.graph import Graph, graph_of
from perdure_graph.request import RunRequest, RunResult
from perdure_graph.state import RunState
from perdure_graph.step import check_command, open_run, step
from perdure_graph.view import EventPage, RunView, events_after, result, view

from .perform import Performer
from .policies import MAX_PAYLOAD_BYTES

_STATUS = SearchAttributeKey.for_keyword(naming.STATUS_ATTRIBUTE)
_WAITING_ON = SearchAttributeKey.for_keyword_list(naming.WAITING_ON_ATTRIBUTE)


_SETTLE = timedelta(milliseconds=1)


def _now() -> int:
    return workflow.time_ns() // 1_000_000


@workflow.defn(name=naming.WORKFLOW_TYPE)
class GraphRun:
    """Runs a graph. Input `RunRequest`, output `RunResult`; a run that fails fails the workflow with its result
    as detail. Commands are updates and signals of the same names, queries are `status`, `events`, `variables`.
    """

    # `Any`: an input that does not decode would fail the workflow task again and again, and so hang the run.
    @workflow.init
    def __init__(self, request: Any = None) -> None:
        self._graph: Graph | None = None
        self._state: RunState | None = None
        self._problem: PerdureError | None = None
        self._crash: BaseException | None = None
        self._shown: str = "running"
        self._ended_by_update = False
        self._performer = Performer(self._deliver)
        try:
            asked = _read(request)
            self._graph = graph_of(asked.graph)
            self._state = open_run(self._graph, asked, workflow.info().workflow_id, _now())
            self._performer.queues = dict(asked.options.queues)
        except PerdureError as error:
            self._problem = error

    @workflow.run
    async def run(self, request: Any = None) -> RunResult:  # noqa: ARG002 - read in __init__
        """Run to the end.

        Raises:
            ApplicationError: the graph or the inputs are invalid, or the run failed (detail: `RunResult`).
        """
        if self._problem is not None:
            raise ApplicationError(str(self._problem), type=type(self._problem).__name__, non_retryable=True)
        self._deliver(Begin())
        try:
            await workflow.wait_condition(lambda: self._run_state.ended or self._crash is not None)
        except asyncio.CancelledError:
            self._apply(Stop(reason="cancelled"))
            await workflow.wait_condition(workflow.all_handlers_finished)
            raise
        if self._crash is not None:
            # A bug of ours: fail the workflow task, so that the run goes on once the code is mended.
            raise self._crash
        if self._ended_by_update:
            # A task that completes the workflow fails when a reply has just come in, and an update in it is lost.
            # So the update gets a task of its own: once it has returned, it is in the history.
            await workflow.sleep(_SETTLE)
        await workflow.wait_condition(workflow.all_handlers_finished)
        return _conclude(result(self._run_state))

    @property
    def _run_state(self) -> RunState:
        if self._state is None:
            raise CommandRefused(f"this run never started: {self._problem}")
        return self._state

    def _deliver(self, happened: Input) -> None:
        """Apply what came back. Called from callbacks, whose exceptions would else be lost."""
        try:
            self._apply(happened)
        except BaseException as error:
            self._crash = error

    def _apply(self, happened: Input) -> None:
        assert self._graph is not None
        self._performer.perform(step(self._graph, self._run_state, happened, _now()))
        self._show()

    def _show(self) -> None:
        """Tell the Temporal UI where the run is. Attributes change only if the run was started with them."""
        state = self._run_state
        if state.status == self._shown:
            return
        self._shown = state.status
        waiting = list(state.waiting)
        workflow.set_current_details(
            f"**{state.status}** after {state.steps} steps" + "".join(f"\n- waits for form `{key}`" for key in waiting)
        )
        if _STATUS in workflow.info().typed_search_attributes:
            # The SDK leaves the type parameter of its updates open.
            workflow.upsert_search_attributes(  # pyright: ignore[reportUnknownMemberType]
                [_STATUS.value_set(state.status), _WAITING_ON.value_set(waiting)]
            )

    def _check(self, command: Command) -> None:
        try:
            check_command(self._run_state, command)
        except CommandRefused as error:
            raise ApplicationError(str(error), type="CommandRefused", non_retryable=True) from error

    def _signalled(self, command: Command) -> None:
        """Apply a command that nobody waits for; one that does not fit changes nothing."""
        try:
            check_command(self._run_state, command)
        except CommandRefused as error:
            workflow.logger.warning("signal ignored: %s", error)
            return
        self._deliver(command)

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

    @workflow.update(name=naming.PAUSE)
    def pause(self, command: Pause = Pause()) -> RunView:  # noqa: B008 - frozen
        """Pause and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.RESUME)
    def resume(self, command: Resume = Resume()) -> RunView:  # noqa: B008 - frozen
        """Resume and say where the run is."""
        return self._updated(command)

    @workflow.update(name=naming.STOP)
    def stop(self, command: Stop = Stop()) -> RunView:  # noqa: B008 - frozen
        """Stop; once this returns, no effect starts any more."""
        return self._updated(command)

    @workflow.update(name=naming.SUBMIT)
    def submit(self, command: Submit) -> RunView:
        """Answer a form and say where the run is."""
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

    def _updated(self, command: Command) -> RunView:
        self._deliver(command)
        self._ended_by_update = self._run_state.ended
        return self.status()

    @workflow.query(name=naming.STATUS)
    def status(self) -> RunView:
        """Where the run is."""
        state = self._run_state
        assert self._graph is not None
        return view(self._graph, state, _now())

    @workflow.query(name=naming.EVENTS)
    def events(self, after: int = 0) -> EventPage:
        """Events numbered above `after`, one page."""
        return events_after(self._run_state, after)

    @workflow.query(name=naming.VARIABLES)
    def variables(self) -> dict[str, Any]:
        """All variables of the top frame, by node."""
        return dict(self._run_state.root.scope or {})


def _read(request: Any) -> RunRequest:
    try:
        return RunRequest.model_validate(request)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in detail['loc']) or 'input'}: {detail['msg']}"
            for detail in error.errors()[:5]
        )
        raise InvalidInputs(f"the input of {naming.WORKFLOW_TYPE} is no run request ({problems}).") from error


def _conclude(outcome: RunResult) -> RunResult:
    """Return the result, or fail the workflow with it; a result too large to return fails by name."""
    size = len(outcome.model_dump_json().encode())
    if size > MAX_PAYLOAD_BYTES:
        largest = max(outcome.outputs, key=lambda name: len(json.dumps(outcome.outputs[name])), default="")
        raise ApplicationError(
            f"the outputs of the run have {size:,} bytes, the limit is {MAX_PAYLOAD_BYTES:,}; the largest is "
            f"{largest!r}. Return less, or a file.",
            type="PayloadTooLarge",
            non_retryable=True,
        )
    if outcome.error is not None:
        raise ApplicationError(
            f"node {outcome.error.title or outcome.error.node!r}: {outcome.error.message}",
            outcome,
            type=outcome.error.type,
            non_retryable=True,
        )
    return outcome
