"""Performing what the core asks for: effects become activities or child workflows, timers become timers, windows
become child workflows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, assert_never

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError, ChildWorkflowError, TimeoutError

from perdure_graph import naming
from perdure_graph.children import ChildEffect, inputs_of
from perdure_graph.commands import (
    Call,
    Cancel,
    Command,
    Dispatch,
    EffectDone,
    EffectFailed,
    Input,
    OpenWindow,
    Pause,
    Resume,
    Retry,
    StartTimer,
    Submit,
    TellChild,
    TellWindows,
    TimerFired,
    WindowDone,
    WindowFailed,
)
from perdure_graph.effects import Effect, Reply
from perdure_graph.oversize import TOO_LARGE, json_size, over_limit
from perdure_graph.request import RunOptions
from perdure_graph.window import WindowOutcome

from .inbox import Inbox
from .policies import activity_options

# Errors of `perdure_payloads`, known by name: blobs are out of reach, a worker lacks a key.
_MENDABLE = ("BlobsUnavailable", "KeyUnknown")
_OUTAGE_PAUSE = timedelta(seconds=5)

_SMALLER = "Pass less data, or a file; docs/payloads.md says how to raise the limit."

Deliver = Callable[[Input], None]
Carry = Callable[[str, Effect], Effect]
Landed = Callable[[str, Reply | None], None]


@dataclass(slots=True)
class _Child:
    """A child workflow and the commands it has not been told yet."""

    task: asyncio.Task[Any] | None = None
    commands: list[Command] = field(default_factory=list[Command])


class Performer:
    """Starts what one run asks for and delivers what comes back, one at a time, as Temporal recorded it.

    inbox: what comes back goes through it.
    carry: lets events ride in an effect that is about to start; landed: told when the effect is over, with its reply.
    """

    def __init__(self, options: RunOptions, inbox: Inbox, deliver: Deliver, carry: Carry, landed: Landed) -> None:
        self._options = options
        self._inbox = inbox
        self._deliver = deliver
        self._carry = carry
        self._landed = landed
        self._effects: dict[str, asyncio.Task[Any]] = {}
        self._timers: dict[str, asyncio.Task[Any]] = {}
        self._children: dict[str, _Child] = {}
        self._closing: set[asyncio.Task[Any]] = set()
        self._ending: set[asyncio.Task[Any]] = set()

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way but timers, which the state knows of."""
        return not (self._effects or self._children or self._closing)

    @property
    def closed(self) -> bool:
        """Whether every child workflow that was cancelled has come to its end."""
        return not self._closing

    @property
    def still(self) -> bool:
        """Whether nothing that was cancelled is at work any more, effects included."""
        return not (self._closing or self._ending)

    def perform(self, dispatches: list[Dispatch]) -> None:
        """Start or cancel each, in order."""
        for dispatch in dispatches:
            match dispatch:
                case Call():
                    self._call(dispatch)
                case StartTimer(key=key, seconds=seconds):
                    self._time(key, seconds)
                case Cancel(key=key):
                    self._cancel(key)
                case OpenWindow():
                    self._open(dispatch)
                case TellWindows(command=command):
                    for child in self._children.values():
                        child.commands.append(command)
                case TellChild(key=key, command=command):
                    if (child := self._children.get(key)) is not None:
                        child.commands.append(command)
                case _:
                    assert_never(dispatch)

    def _call(self, call: Call) -> None:
        # Sent anyway, it would fail the whole run, or its task again and again, without naming the node.
        size, limit = json_size(call.effect), self._options.max_value_bytes
        if size > limit:
            sizes = over_limit(call.effect, size, limit)
            message = f"node {call.title!r} gives {_name(call.effect)!r} {sizes}. {_SMALLER}"
            self._deliver(EffectFailed(call.key, message, TOO_LARGE))
            return
        if isinstance(call.effect, ChildEffect):
            self._begin(call, call.effect)
            return
        effect = self._carry(call.key, call.effect)
        task = workflow.start_activity(
            effect.activity,
            effect,
            result_type=effect.reply,
            activity_id=call.key,
            # A summary costs as much as the rest of the call; the activity id already names the node.
            summary=call.title if call.title != call.node_id else None,
            task_queue=self._options.queues.get(effect.effect_class),
            **activity_options(effect),
        )
        self._effects[call.key] = task

        def over(done: asyncio.Task[Any]) -> None:
            # Looked at in any case: asyncio complains of exceptions that nobody retrieves.
            error = None if done.cancelled() else done.exception()
            failed = done.cancelled() or error is not None
            self._landed(call.key, None if failed else done.result())
            if self._effects.get(call.key) is not done:
                return
            del self._effects[call.key]
            if error is not None and _unread(error):
                self._effects[call.key] = asyncio.create_task(self._again(call))
            elif error is not None:
                refused = _refused(error)
                effect = call.effect if refused else None
                self._deliver(EffectFailed(call.key, *_explain(error), refused=refused, effect=effect))
            elif not done.cancelled():
                self._deliver(self._taken(call, done.result()))

        task.add_done_callback(lambda done: self._inbox.put(lambda: over(done)))

    def _taken(self, call: Call, reply: Reply) -> Input:
        size, limit = json_size(reply), self._options.max_value_bytes
        if size <= limit:
            return EffectDone(call.key, reply)
        sizes = over_limit(reply, size, limit)
        return EffectFailed(
            call.key, f"node {call.title!r} got from {_name(call.effect)!r} {sizes}. {_SMALLER}", TOO_LARGE
        )

    async def _again(self, call: Call) -> None:
        await workflow.sleep(_OUTAGE_PAUSE, summary=call.key)
        self._call(call)

    def _time(self, key: str, seconds: float) -> None:
        task = asyncio.create_task(workflow.sleep(seconds, summary=key))
        self._timers[key] = task

        def over(done: asyncio.Task[Any]) -> None:
            if self._timers.get(key) is done:
                del self._timers[key]
                if not done.cancelled():
                    self._deliver(TimerFired(key))

        task.add_done_callback(lambda done: self._inbox.put(lambda: over(done)))

    def _open(self, asked: OpenWindow) -> None:
        def failed(error: BaseException) -> None:
            message, kind, _ = _explain(error)
            self._deliver(WindowFailed(asked.key, message, kind))

        request = asked.request
        run = _Run(naming.WINDOW_TYPE, request, f"{request.run_id}/{request.scope}", WindowOutcome)
        self._start(asked.key, run, lambda outcome: self._deliver(WindowDone(asked.key, outcome)), failed)

    def _begin(self, call: Call, effect: ChildEffect) -> None:
        assert effect.meta is not None
        run = _Run(
            effect.workflow,
            inputs_of(effect),
            f"{effect.meta.run_id}/{effect.meta.scope}",
            effect.reply,
            task_queue=self._options.queues.get(effect.effect_class),
            summary=call.title,
        )

        def failed(error: BaseException) -> None:
            self._deliver(EffectFailed(call.key, *_explain(error)))

        self._start(call.key, run, lambda reply: self._deliver(self._taken(call, reply)), failed)

    def _start(
        self, key: str, run: _Run, done_well: Callable[[Any], None], failed: Callable[[BaseException], None]
    ) -> None:
        """Start a child workflow, and hear of its end."""
        child = self._children[key] = _Child()

        def ended(done: asyncio.Task[Any]) -> None:
            error = None if done.cancelled() else done.exception()
            if self._children.get(key) is not child:
                return
            del self._children[key]
            if error is not None:
                failed(error)
            elif not done.cancelled():
                done_well(done.result())

        def take(done: asyncio.Task[Any]) -> None:
            self._inbox.put(lambda: ended(done))

        def over(done: asyncio.Task[Any]) -> None:
            self._closing.discard(done)
            # One that never started has not told it.
            take(done)

        task = child.task = asyncio.create_task(_run_child(run, child, take))
        task.add_done_callback(over)

    def _cancel(self, key: str) -> None:
        effect = self._effects.pop(key, None)
        if effect is not None:
            self._ending.add(effect)
            effect.add_done_callback(self._ending.discard)
        task = effect or self._timers.pop(key, None)
        child = self._children.pop(key, None)
        if child is not None and child.task is not None:
            task = child.task
            self._closing.add(task)
        if task is not None:
            task.cancel()


@dataclass(frozen=True, slots=True)
class _Run:
    """What to start as a child workflow."""

    workflow: str
    request: Any
    id: str
    result: type[Any]
    task_queue: str | None = None
    summary: str | None = None


async def _run_child(run: _Run, child: _Child, ended: Callable[[asyncio.Task[Any]], None]) -> Any:
    """Run a child workflow to its end and tell it, meanwhile, what the run was told."""
    handle = await workflow.start_child_workflow(
        run.workflow,
        run.request,
        id=run.id,
        result_type=run.result,
        task_queue=run.task_queue,
        static_summary=run.summary,
        cancellation_type=workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
        parent_close_policy=workflow.ParentClosePolicy.REQUEST_CANCEL,
    )
    # This task would hear of the end a turn later than others hear of theirs.
    handle.add_done_callback(ended)
    telling = asyncio.create_task(_tell(handle, child.commands))
    try:
        return await handle
    finally:
        telling.cancel()


async def _tell(handle: workflow.ChildWorkflowHandle[Any, Any], commands: list[Command]) -> None:
    while True:
        await workflow.wait_condition(lambda: bool(commands))
        command = commands.pop(0)
        match command:
            case Pause():
                name = naming.PAUSE
            case Resume():
                name = naming.RESUME
            case Submit():
                name = naming.SUBMIT
            case Retry():
                name = naming.RETRY
            case _:
                continue
        try:
            await handle.signal(name, command)
        except (ApplicationError, CancelledError):
            # It has ended meanwhile: its outcome is on the way.
            return


def _unread(error: BaseException) -> bool:
    """Whether no worker could read the request, for a reason that an operator can mend: nothing was performed."""
    cause = error.cause if isinstance(error, ActivityError) else None
    match cause:
        case ApplicationError(cause=ApplicationError(type=kind), type=None):
            return kind in _MENDABLE
        case _:
            return False


def _refused(error: BaseException) -> bool:
    """Whether the effect was not performed, and an operator is to say when it may be."""
    match error.cause if isinstance(error, ActivityError) else None:
        case ApplicationError(details=[{"hold": True}, *_]):
            return True
        case _:
            return False


def _name(effect: Effect) -> str:
    return effect.workflow if isinstance(effect, ChildEffect) else effect.activity


def _explain(error: BaseException) -> tuple[str, str, bool]:
    """Message and type of what made an effect or a window fail for good; whether its worker fell silent."""
    if isinstance(error, ChildWorkflowError) and isinstance(error.cause, CancelledError | None):
        return f"its workflow {error.workflow_id!r} was cancelled from outside", "ChildCancelled", False
    cause = error.cause if isinstance(error, ActivityError | ChildWorkflowError) else error
    match cause:
        case ApplicationError(cause=ApplicationError() as inner, type=None):
            # The SDK says only that a request could not be read; beneath it stands why.
            return inner.message, inner.type or "ApplicationError", False
        case ApplicationError():
            return cause.message, cause.type or "ApplicationError", False
        case TimeoutError():
            kind = cause.type.name.lower().replace("_", "-") if cause.type else "unknown"
            return f"timed out ({kind}); no worker finished it in time", "EffectTimeout", True
        case CancelledError():
            return "its worker was shut down before it was done", "EffectInterrupted", True
        case None:
            return str(error), type(error).__name__, False
        case _:
            return str(cause), type(cause).__name__, False
