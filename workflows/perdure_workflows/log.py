"""Recording: events ride to the run store in the effects of a run, and in an effect of their own where none is due.

The store may be down for as long as it likes: the run goes on, and what is not recorded stays in its state. What is
left when the run ends goes to a child workflow that outlives it and tries until the store takes it.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import BaseModel, JsonValue
from temporalio import workflow
from temporalio.common import RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError

from perdure_graph import naming, outbox
from perdure_graph.effects import Effect, EffectMeta, Recorded, RecordEvents, Reply
from perdure_graph.outbox import Outbox
from perdure_graph.state import RunState

from .inbox import Inbox

# Long enough that effects started meanwhile carry the events, short enough that a reader does not wait.
_GATHER_S = 0.5
_LONGEST_PAUSE_S = 60.0
_TRY = timedelta(seconds=5)
_TAKEN = timedelta(seconds=15)


def _start_recording(meta: EffectMeta) -> workflow.ActivityHandle[Recorded]:
    return workflow.start_activity(
        RecordEvents.activity,
        RecordEvents(meta=meta),
        result_type=Recorded,
        activity_id=meta.key,
        summary="record events",
        start_to_close_timeout=_TRY,
        # Also bounds the wait for a worker, or a run could not end without one.
        schedule_to_close_timeout=_TAKEN,
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=2),
    )


async def _record(meta: EffectMeta) -> outbox.Answer:
    try:
        return _answer(await _start_recording(meta))
    except ActivityError:
        return "no"


def _answer(reply: Reply | None) -> outbox.Answer:
    if reply is None:
        return "no"
    # Without a wrapper around the activity nobody records.
    return "off" if reply.meta is None else reply.meta.recorded


class Log:
    """The recording of one run or window."""

    def __init__(self, state: RunState, box: Outbox, inbox: Inbox) -> None:
        self._state = state
        self.box = box
        self._inbox = inbox
        self._due: asyncio.Task[None] | None = None
        self._flying: asyncio.Task[Recorded] | None = None
        self._pause = _GATHER_S
        self._flushes = 0
        self.closing = False

    @property
    def flushing(self) -> bool:
        """Whether an effect of the log's own is on its way."""
        return self._flying is not None

    def carry(self, key: str, effect: Effect) -> Effect:
        """Let events ride in an effect that is about to start."""
        if effect.meta is None:
            return effect
        events = self.box.take(self._state, key)
        if not events:
            return effect
        return effect.model_copy(update={"meta": effect.meta.model_copy(update={"events": events})})

    def landed(self, key: str, reply: Reply | None) -> None:
        """Note what became of the events that rode in an effect."""
        if key not in self.box.flying:
            return
        if reply is None:
            self.box.lost(self._state, key)
        else:
            self.box.settle(self._state, key, _answer(reply))

    def look(self) -> None:
        """See to it that events which nothing carries get an effect of their own before long."""
        self.box.trim(self._state)
        if self.closing or self._due or self._flying or not self.box.unsent(self._state):
            return
        due = self._due = asyncio.create_task(workflow.sleep(self._pause))

        def over(done: asyncio.Task[None]) -> None:
            if self._due is done:
                self._due = None
                self._send()

        due.add_done_callback(lambda done: self._inbox.put(lambda: over(done)))

    def _send(self) -> None:
        # The end has a flush of its own.
        if self.closing or self._state.ended or not self.box.unsent(self._state):
            return
        key, meta = self._next_batch()
        flying = self._flying = _start_recording(meta)

        def over(done: asyncio.Task[Recorded]) -> None:
            failed = done.cancelled() or done.exception() is not None
            if self._flying is not done:
                return
            self._flying = None
            answer = "no" if failed else _answer(done.result())
            self.box.settle(self._state, key, answer)
            self._pause = min(self._pause * 2, _LONGEST_PAUSE_S) if answer == "no" else _GATHER_S
            self.look()

        flying.add_done_callback(lambda done: self._inbox.put(lambda: over(done)))

    def _next_batch(self) -> tuple[str, EffectMeta]:
        self._flushes += 1
        key = f"!events#{self._flushes}"
        return key, self._meta(key, self.box.take(self._state, key, probe=True))

    def _meta(self, key: str, events: tuple[dict[str, JsonValue], ...]) -> EffectMeta:
        state = self._state
        return EffectMeta(
            run_id=state.run_id,
            scope=state.scope,
            key=key,
            idempotency_key=f"{state.run_id}/{state.scope}/{key}",
            flow=state.flow,
            tenant=state.tenant,
            events=events,
        )

    def hush(self) -> None:
        """Start no more flushes: the history is about to end."""
        self.closing = True
        for task in (self._due, self._flying):
            if task is not None:
                task.cancel()
        self._due = self._flying = None

    async def close(self) -> None:
        """Record the last events; leave to a child workflow what the store does not take now."""
        self.hush()
        self.box.sent, self.box.flying = self.box.acked, {}
        while self.box.unrecorded(self._state):
            key, meta = self._next_batch()
            answer = await _record(meta)
            self.box.settle(self._state, key, answer)
            if answer == "no":
                break
        if not self.box.unrecorded(self._state):
            return
        rest = [self._meta("!events", events) for events in outbox.batches(self._state, self.box)]
        await workflow.start_child_workflow(
            naming.LOG_TYPE,
            Backlog(batches=rest),
            id=f"{workflow.info().workflow_id}/events",
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
        )


class Backlog(BaseModel):
    """Input of `RecordEvents`: batches of events, oldest first."""

    batches: list[EffectMeta]
    pause_s: float = 1.0


@workflow.defn(name=naming.LOG_TYPE)
class RecordBacklog:
    """Records the events that a run left behind when it ended while the store was down. Outlives the run."""

    @workflow.run
    async def run(self, backlog: Any) -> int:
        """Try until the store has taken everything; give the number of batches."""
        asked = Backlog.model_validate(backlog)
        pause = asked.pause_s
        left = list(asked.batches)
        while left:
            if await _record(left[0]) == "no":
                await workflow.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_S)
                if workflow.info().is_continue_as_new_suggested():
                    workflow.continue_as_new(Backlog(batches=left, pause_s=pause))
                continue
            left.pop(0)
            pause = 1.0
        return len(asked.batches)
