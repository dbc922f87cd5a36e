"""Performing what the core asks for: effects become activities, timers become timers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError

from perdure_graph.commands import (
    Call,
    Cancel,
    Dispatch,
    EffectDone,
    EffectFailed,
    Input,
    StartTimer,
    TimerFired,
)
from perdure_graph.effects import EffectClass

from .policies import MAX_PAYLOAD_BYTES, activity_options

Deliver = Callable[[Input], None]


class Performer:
    """Starts effects and timers of one run and delivers what comes back, one at a time, as Temporal recorded it."""

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self.queues: dict[EffectClass, str] = {}
        self._pending: dict[str, asyncio.Task[Any]] = {}

    def perform(self, dispatches: list[Dispatch]) -> None:
        """Start or cancel each, in order."""
        for dispatch in dispatches:
            match dispatch:
                case Call():
                    self._call(dispatch)
                case StartTimer(key=key, seconds=seconds):
                    self._watch(key, asyncio.create_task(workflow.sleep(seconds, summary=key)), TimerFired(key))
                case Cancel(key=key):
                    task = self._pending.pop(key, None)
                    if task is not None:
                        task.cancel()

    def _call(self, call: Call) -> None:
        effect = call.effect
        size = len(effect.model_dump_json().encode())
        if size > MAX_PAYLOAD_BYTES:
            # Sent anyway, the server would fail the whole run without naming the node.
            message = (
                f"node {call.title!r} asks for {effect.activity!r} with {size:,} bytes of data; the limit is "
                f"{MAX_PAYLOAD_BYTES:,}. Pass less data, or a file, to this node."
            )
            self._deliver(EffectFailed(call.key, message, "PayloadTooLarge"))
            return
        task = workflow.start_activity(
            effect.activity,
            effect,
            result_type=effect.reply,
            activity_id=call.key,
            # A summary costs as much as the rest of the call; the activity id already names the node.
            summary=call.title if call.title != call.node_id else None,
            task_queue=self.queues.get(effect.effect_class),
            **activity_options(effect),
        )
        self._watch(call.key, task, None)

    def _watch(self, key: str, task: asyncio.Task[Any], done: Input | None) -> None:
        self._pending[key] = task

        def finished(finished_task: asyncio.Task[Any]) -> None:
            # Looked at in any case: asyncio complains of exceptions that nobody retrieves.
            error = None if finished_task.cancelled() else finished_task.exception()
            if self._pending.get(key) is not finished_task:
                return
            del self._pending[key]
            if finished_task.cancelled():
                return
            if error is not None:
                self._deliver(EffectFailed(key, *_explain(error)))
            else:
                self._deliver(done or EffectDone(key, finished_task.result()))

        task.add_done_callback(finished)


def _explain(error: BaseException) -> tuple[str, str]:
    """Message and type of what made an effect fail for good."""
    cause = error.cause if isinstance(error, ActivityError) else error
    match cause:
        case ApplicationError():
            return cause.message, cause.type or "ApplicationError"
        case TimeoutError():
            kind = cause.type.name.lower().replace("_", "-") if cause.type else "unknown"
            return f"timed out ({kind}); no worker finished it in time", "EffectTimeout"
        case None:
            return str(error), type(error).__name__
        case _:
            return str(cause), type(cause).__name__
