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

# Long enough that effects started meanwhile carry the events, short enough that a reader does not wait.
_GATHER_S = 0.5
_LONGEST_PAUSE_S = 60.0
_TRY = timedelta(seconds=5)
_TAKEN = timedelta(seconds=15)


async def _record(meta: EffectMeta) -> outbox.Answer:
    try:
        reply: Recorded = await workflow.execute_activity(
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
    except ActivityError:
        return "no"
    return _answer(reply)


def _answer(reply: Reply | None) -> outbox.Answer:
    if reply is None:
        return "no"
    # Without a wrapper around the activity nobody records.
    return "off" if reply.meta is None else reply.meta.recorded


class Log:
    """The recording of one run or window."""

    def __init__(self, state: RunState, box: Outbox) -> None:
        self._state = state
        self.box = box
        self._gathering: asyncio.Task[None] | None = None
        self._flushes = 0
        self.flushing = False
        self.closing = False

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
        if not self.closing and self._gathering is None and self.box.unsent(self._state):
            self._gathering = asyncio.create_task(self._gather())

    async def _gather(self) -> None:
        pause = _GATHER_S
        # A cancelled flush looks like one that the store did not take: nothing may start after `hush`.
        while not self.closing and self.box.unsent(self._state):
            await workflow.sleep(pause)
            if self.box.unsent(self._state) and await self._flush() == "no":
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            else:
                pause = _GATHER_S
        self._gathering = None

    async def _flush(self) -> outbox.Answer:
        self._flushes += 1
        key = f"!events#{self._flushes}"
        events = self.box.take(self._state, key, probe=True)
        self.flushing = True
        answer = await _record(self._meta(key, events))
        self.flushing = False
        self.box.settle(self._state, key, answer)
        return answer

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
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def close(self) -> None:
        """Record the last events; leave to a child workflow what the store does not take now."""
        self.hush()
        self.box.sent, self.box.flying = self.box.acked, {}
        while self.box.unrecorded(self._state):
            if await self._flush() == "no":
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
