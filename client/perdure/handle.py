"""A handle on one run: watch it, command it, wait for its result."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as OutOfTime
from temporalio.service import RPCError

from perdure_graph import naming
from perdure_graph.commands import Approve, Deny, Pause, Resume, Retry, SetVariables, Stop, Submit
from perdure_graph.errors import CommandRefused, InvalidGraph, InvalidInputs, RunFailed, RunNotFound
from perdure_graph.events import AgentThought, Event
from perdure_graph.graph import Graph
from perdure_graph.outcomes import Outcomes
from perdure_graph.recorded import recorded
from perdure_graph.request import ENDED, Pin, RunError, RunOptions, RunResult
from perdure_graph.view import RunView

from .approvals import Approval, approvals_of
from .archive import STORE_VARIABLE, Archive, LogEntry
from .channel import BRIEFLY, NO_WORKER, Channel, message_of
from .children import Children
from .fork import ForkPlan, plan_fork
from .live import Reader
from .source import RunSource
from .thoughts import folded
from .workers import deserted_queues, has_worker, view_from_outside

if TYPE_CHECKING:
    from perdure_store.news import Watch

# How long `status` asks the run itself, first briefly; then it says what is known from outside.
_ASK_LONGER = timedelta(seconds=8)
_RETRY_MARGIN_S = 0.5
# Effects that nobody picks up are looked for in runs of this age, in seconds.
_DESERTED_AFTER_S = 2.0


class RunHandle:
    """One run, by its id. Cheap to make; holds no connection of its own.

    Every command takes an `id`: a second command with the same one changes nothing, so one that may have been lost
    can be given again.
    """

    def __init__(
        self,
        workflow: WorkflowHandle[Any, RunResult],
        temporal: TemporalClient | None = None,
        archive: Archive | None = None,
        task_queue: str = naming.TASK_QUEUE,
    ) -> None:
        self._workflow = workflow
        self._channel = Channel(workflow)
        self._temporal = temporal
        self._archive = archive or Archive()
        self._task_queue = task_queue

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
            RunFailed: it was ended from outside (terminated), so there is no result.
        """
        try:
            return await self._workflow.result()
        except WorkflowFailureError as error:
            return await self._failed(error.cause)
        except RPCError as error:
            raise self._channel.wrapped(error) from error

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

    async def status(self, *, patient: bool = False) -> RunView:
        """Where the run is: status, open forms, nodes, outputs so far.

        When no worker answers within ten seconds, what the server knows: `waiting_for_worker` is set then, and no
        nodes are listed. It is also set, with the `queues`, when an effect waits for a worker that is not there.

        patient: go on asking until a worker answers.
        """
        if patient:
            return _as_of_now(await self._channel.query(naming.STATUS, RunView))
        for within in (BRIEFLY, _ASK_LONGER):
            try:
                # Retries of the SDK may stretch a call past its limit.
                async with asyncio.timeout(within.total_seconds() + _RETRY_MARGIN_S):
                    view = _as_of_now(await self._channel.ask(naming.STATUS, RunView, within=within))
                return await self._with_deserted_queues(view)
            except (RPCError, TimeoutError) as error:
                if isinstance(error, RPCError) and error.status not in NO_WORKER:
                    raise self._channel.wrapped(error) from error
            described = await self._channel.describe()
            if self._temporal is None or not await has_worker(self._temporal, described.task_queue):
                break
        return view_from_outside(await self._channel.describe())

    async def _with_deserted_queues(self, view: RunView) -> RunView:
        """Add the task queues on which effects of the run wait for nobody."""
        if self._temporal is None or view.elapsed < _DESERTED_AFTER_S or view.status not in ("running", "pausing"):
            return view
        queues = await deserted_queues(self._temporal, await self._channel.describe())
        return view.model_copy(update={"waiting_for_worker": True, "queues": queues}) if queues else view

    async def variables(self) -> dict[str, Any]:
        """All variables of the top frame, by node id."""
        return await self._channel.query(naming.VARIABLES, dict[str, Any])

    async def events(self, after: int = 0, *, live: bool = True) -> AsyncIterator[Event]:
        """Yield events in order, from the one after number `after`, until the run has ended.

        To resume later, pass the `seq` of the last event seen. Those that a long run keeps no more, and those of a run
        that the server has forgotten, are read from the run store.

        What agents below the run tell (thoughts, logs, forms) comes between its own events, from the run store, where
        there is one: with the `seq` of the event before it, and with the key under which the run takes an answer.

        live: where there is a run store, yield the text of an answer while a model writes it (`TextChunk.live`), and
            `TextRewind` when some of it does not count after all. Whoever appends the text of every `TextChunk` and
            cuts at every `TextRewind` always ends with the recorded answer. Without it, only what is recorded.

        Raises:
            RunNotFound: no such run.
            PlatformError: the run store is needed, and there is none or it does not answer.
        """
        with self._archive.watch(self.run_id) if live else nullcontext() as watch:
            reader = self._reader(after, watch)
            try:
                async with aclosing(reader.events()) as found:
                    async for event in found:
                        yield event
            except RunNotFound:
                if not self._archive.configured:
                    raise
            else:
                return
            async with aclosing(reader.recorded()) as found:
                async for event in found:
                    yield event

    def _reader(self, after: int, watch: Watch | None) -> Reader:
        children = Children(self._archive, self.run_id, after)
        return Reader(RunSource(self._channel, self._archive), after, watch, children)

    async def thoughts(self) -> list[AgentThought]:
        """What the agents of the run thought so far, round by round, each as told last.

        Those of agents below the run, and of a run that the server has forgotten, are read from the run store.

        Raises:
            RunNotFound: no such run.
            PlatformError: the run store is needed, and there is none or it does not answer.
        """
        reader = self._reader(0, None)
        try:
            return folded(await reader.so_far())
        except RunNotFound:
            if not self._archive.configured:
                raise
        return folded([event async for event in reader.recorded()])

    def log(self, after: int = 0, *, follow: bool = True) -> AsyncIterator[LogEntry]:
        """Yield what the run store has of the run and of the windows of its iterations, in the order of recording.

        To resume later, pass the `position` of the last entry seen.

        follow: go on until the run has ended.

        Raises:
            RunNotFound: nothing of the run is recorded, and it is not followed.
            PlatformError: there is no run store, or it does not answer.
        """
        return self._archive.log(self.run_id, after, follow=follow)

    async def pause(self, reason: str = "", *, id: str | None = None) -> RunView:
        """Start nothing new; what is in flight finishes and is kept."""
        return await self._channel.update(naming.PAUSE, Pause(id=_id(id), reason=reason))

    async def resume(self, *, id: str | None = None) -> RunView:
        """Go on from a pause."""
        return await self._channel.update(naming.RESUME, Resume(id=_id(id)))

    async def stop(self, reason: str = "", *, id: str | None = None) -> RunView:
        """End the run; when this returns, no new effect will ever start."""
        return await self._channel.update(naming.STOP, Stop(id=_id(id), reason=reason))

    async def submit(
        self, form: str, action: str, values: Mapping[str, Any] | None = None, *, id: str | None = None
    ) -> RunView:
        """Answer the form `form` (key of `status().forms`, or the node's id) with one of its actions."""
        command = Submit(id=_id(id), form=form, action=action, values=dict(values or {}))
        return await self._channel.update(naming.SUBMIT, command)

    async def approvals(self) -> list[Approval]:
        """Calls of tools that wait for approval now, here and in the agents below."""
        return approvals_of(await self.status(patient=True))

    async def approve(
        self, call: str, arguments: Mapping[str, Any] | None = None, *, comment: str = "", id: str | None = None
    ) -> RunView:
        """Let a call of a tool be made, with other arguments if they are given.

        call: `key` of one of `approvals`, or the id of the call where only one such call waits.
        """
        given = None if arguments is None else dict(arguments)
        command = Approve(id=_id(id), call=call, arguments=given, comment=comment)
        return await self._channel.update(naming.APPROVE, command)

    async def deny(self, call: str, reason: str = "", *, id: str | None = None) -> RunView:
        """Have a call of a tool not made; the agent's model is told the reason."""
        return await self._channel.update(naming.DENY, Deny(id=_id(id), call=call, reason=reason))

    async def set_variables(self, variables: Mapping[str, Mapping[str, Any]], *, id: str | None = None) -> RunView:
        """Overwrite variables, `{node id, "conversation" or "env": {name: value}}`; all of them or none."""
        given = {node: dict(values) for node, values in variables.items()}
        return await self._channel.update(naming.SET_VARIABLES, SetVariables(id=_id(id), variables=given))

    async def retry(self, node: str, outputs: Mapping[str, Any] | None = None, *, id: str | None = None) -> RunView:
        """Run a node again that waits for an operator (`status().held`), or at once one between two attempts.

        node: its key, or its id where only one such node waits.
        outputs: take these as the node's outputs instead.
        """
        given = None if outputs is None else dict(outputs)
        return await self._channel.update(naming.RETRY, Retry(id=_id(id), node=node, outputs=given))

    async def _failed(self, cause: BaseException | None) -> RunResult:
        match cause:
            case ApplicationError(type="InvalidGraph"):
                raise InvalidGraph(cause.message)
            case ApplicationError(type="InvalidInputs"):
                raise InvalidInputs(cause.message)
            case ApplicationError() if cause.details:
                return RunResult.model_validate(cause.details[0])
            case CancelledError():
                view = await self.status(patient=True)
                return RunResult(
                    run_id=self.run_id,
                    status="stopped",
                    outputs=view.outputs,
                    steps=view.steps,
                    elapsed=view.elapsed,
                )
            case OutOfTime():
                return await self._out_of_time()
            case _:
                kind = getattr(cause, "type", None)
                raise RunFailed(
                    f"run {self.run_id!r} has no result: {message_of(cause)}",
                    status="failed",
                    error_type=kind if isinstance(kind, str) else type(cause).__name__,
                )

    async def _out_of_time(self) -> RunResult:
        """Give the result of a run that the server ended, because its deadline passed and no worker said so."""
        described = await self._channel.describe()
        ended = described.close_time or described.start_time
        seconds = (ended - described.start_time).total_seconds()
        text = (
            f"no worker finished the run in time: the server ended it after {seconds:.0f} s, past its deadline. See "
            f"that a worker polls task queue {described.task_queue!r}."
        )
        error = RunError(message=text, type="DeadlineExceeded")
        return RunResult(run_id=self.run_id, status="failed", outputs={}, error=error, elapsed=seconds)

    async def outcomes(self) -> Outcomes:
        """How the nodes of the top frame ended so far, and what the run was asked: what a fork can take over."""
        return await self._channel.query(naming.OUTCOMES, Outcomes)

    async def fork(
        self,
        from_node: str | None = None,
        *,
        graph: Graph | None = None,
        inputs: Mapping[str, Any] | None = None,
        variables: Mapping[str, Mapping[str, Any]] | None = None,
        pins: Mapping[str, Pin | Mapping[str, Any]] | None = None,
        run_id: str | None = None,
        options: RunOptions | None = None,
    ) -> RunHandle:
        """Start another run that takes over what came before a node, and runs that node and what follows anew.

        The run itself goes on, or stays as it ended; what it did is taken as it is now. See docs/fork.md.

        from_node: a node, or `it[3]` for an iteration from its fourth item on; by default the node that failed, and
            those that differ in `graph`.
        graph: a changed graph; by default that of the run. For a run that the server has forgotten, the one it ran.
        inputs: inputs to change. Without `from_node` everything runs anew with them.
        variables: outputs to change, by node that is taken over and name; also of `conversation` and `sys`.
        pins, options: by default those of the run.

        Raises:
            InvalidInputs: the run cannot be entered there, or nothing would run anew; says what is possible.
            InvalidGraph: a node cannot run here and is not pinned.
            CommandRefused: `run_id` belongs to another run.
            RunNotFound: neither the server nor the run store knows the run.
        """
        planned = await self.plan_fork(
            from_node, graph=graph, inputs=inputs, variables=variables, pins=pins, options=options
        )
        return await self.start_fork(planned, run_id)

    async def plan_fork(self, from_node: str | None = None, **changes: Any) -> ForkPlan:
        """Work out what `fork` with the same arguments would take over, and start nothing."""
        return plan_fork(await self.fork_source(changes.get("graph")), from_node, **changes)

    async def fork_source(self, graph: Graph | None = None) -> Outcomes:
        """What a fork can take over: `outcomes`, or what the run store has of a run that the server has forgotten.

        graph: the one that the forgotten run ran; the store keeps none.

        Raises:
            RunNotFound: neither the server nor the run store knows the run.
            InvalidInputs: the server has forgotten the run, and `graph` is not the one that it ran.
        """
        try:
            return await self.outcomes()
        except RunNotFound as error:
            if not self._archive.configured:
                hint = f"If the server has forgotten it: {STORE_VARIABLE} names the run store that has its record."
                raise RunNotFound(f"{error} {hint}") from error
        return recorded(self.run_id, graph, [event async for event in self._archive.history(self.run_id, 0)])

    async def start_fork(self, planned: ForkPlan, run_id: str | None = None) -> RunHandle:
        """Start a fork of this run as planned, on the run's own task queue."""
        from .client import Client

        if self._temporal is None:
            raise CommandRefused("this handle cannot start runs; take one from `Client.run`.")
        forgotten = planned.source.from_store
        queue = self._task_queue if forgotten else (await self._channel.describe()).task_queue
        client = Client(self._temporal, queue, store=self._archive.url)
        return await client.start_request(planned.graph, planned.request, run_id)


def _as_of_now(view: RunView) -> RunView:
    if view.status in ENDED:
        return view
    return view.model_copy(update={"elapsed": max(view.elapsed, time.time() - view.started_at / 1000)})


def _id(given: str | None) -> str:
    return given or str(uuid.uuid4())
