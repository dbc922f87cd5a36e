"""The shell around the core, shared by runs and windows: apply what happens, perform what comes out, record it, and
move to a fresh history when this one has grown long.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow

from perdure_graph.commands import Begin, Drain, GoOn, Input
from perdure_graph.continuation import Continuation
from perdure_graph.graph import Graph
from perdure_graph.outbox import Outbox, lighten
from perdure_graph.request import RunStatus
from perdure_graph.state import RunState
from perdure_graph.step import step
from perdure_graph.timers import armed
from perdure_graph.view import EVENT_BYTES

from .inbox import Inbox
from .log import Log
from .perform import Performer

# A worker that is gone is missed after 5 s.
_STILL = timedelta(seconds=10)
# How long nothing new starts in the hope that what is in flight comes back; then the run goes on for a while.
_DRAIN = timedelta(seconds=60)
_PATIENCE = 1.25
# Past this multiple of the setting the run waits for a quiet moment however long it takes.
_HARD = 1.75

Watch = Callable[[RunStatus, RunStatus], None]


def now() -> int:
    """Workflow time in milliseconds since the epoch."""
    return workflow.time_ns() // 1_000_000


class Shell:
    """One run or window in motion. `watch` hears every change of status, as (before, after).

    applied: called when something was applied. may_leave: whether the workflow around it may move as well.
    """

    def __init__(
        self,
        graph: Graph,
        state: RunState,
        before: Continuation | None,
        watch: Watch,
        applied: Callable[[], None] = lambda: None,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> None:
        self.graph = graph
        self.state = state
        self.histories = before.histories if before else 0
        self.crash: BaseException | None = None
        inbox = Inbox()
        self.log = Log(state, before.outbox.landed() if before else Outbox(), inbox)
        self._watch = watch
        self._applied = applied
        self._all_told = may_leave
        self._goes_on = before is not None
        self._performer = Performer(state.options, inbox, self.deliver, self.log.carry, self.log.landed)
        self._not_before = 0.0

    @property
    def over(self) -> bool:
        """Whether there is nothing left to wait for: the end, or a bug of ours."""
        return self.state.ended or self.crash is not None

    @property
    def closed(self) -> bool:
        """Whether all child workflows that were cancelled are gone."""
        return self._performer.closed

    def deliver(self, happened: Input) -> None:
        """Apply what came back. Called from callbacks, whose exceptions would else be lost."""
        try:
            self.apply(happened)
        except BaseException as error:
            self.crash = error

    def apply(self, happened: Input) -> None:
        """Apply one input and perform what comes out."""
        before = self.state.status
        self._performer.perform(step(self.graph, self.state, happened, now()))
        if self.state.status != before:
            self._watch(before, self.state.status)
        self._applied()
        if not self.state.ended:
            self.log.look()

    async def drive(self) -> Continuation | None:
        """Run until the end (None), or until the run must go on in a fresh history."""
        if self._goes_on:
            self._performer.perform(list(armed(self.state, now())))
            self.deliver(GoOn())
        else:
            self.deliver(Begin())
        while True:
            await workflow.wait_condition(lambda: self.over or self._is_long)
            if self.over:
                return None
            if (continuation := await self._drain()) is not None:
                return continuation

    @property
    def _is_long(self) -> bool:
        info = workflow.info()
        length = info.get_current_history_length()
        if length < self._not_before:
            return False
        # The server counts bytes and updates too.
        return length >= self.state.options.continue_after_events or info.is_continue_as_new_suggested()

    async def _drain(self) -> Continuation | None:
        length = workflow.info().get_current_history_length()
        hard = length >= self.state.options.continue_after_events * _HARD
        # A child that waits for a person may do so for ever.
        hard = hard and not any(child.asks for child in self.state.children.values())
        self.deliver(Drain())
        try:
            await workflow.wait_condition(self._may_leave, timeout=None if hard else _DRAIN)
        except TimeoutError:
            self._not_before = length * _PATIENCE
            self.deliver(GoOn())
            return None
        if self.over:
            return None
        self.log.hush()
        # No query shows more of them.
        lighten(self.state, EVENT_BYTES)
        return Continuation(
            graph=self.graph.document, state=self.state, outbox=self.log.box, histories=self.histories + 1
        )

    def _may_leave(self) -> bool:
        # A flush cut short would be due again in the next history, and cut short there: it lasts seconds, so wait.
        quiet = self._performer.quiet and not self.log.flushing and workflow.all_handlers_finished()
        return self.over or (quiet and self._all_told())

    async def settle(self) -> None:
        """Wait until what was cancelled is over: its request is sent, or never will be.

        That is with its next heartbeat. An effect that does not let itself be cancelled is not waited for.
        """
        with suppress(TimeoutError):
            if not self._performer.still:
                await workflow.wait_condition(lambda: self._performer.still, timeout=_STILL)
        await workflow.wait_condition(lambda: self.closed)

    async def close(self) -> None:
        """Wait for children that were cancelled, after a stop for effects too, and record the last events."""
        if self.state.status == "stopped":
            await self.settle()
        await workflow.wait_condition(lambda: self.closed)
        await self.log.close()


def continuation_of(request: Any) -> Continuation | None:
    """Read the input of a workflow that goes on; None for one that begins."""
    if isinstance(request, dict) and "kind" in request and request["kind"] == "continuation":
        return Continuation.model_validate(request)
    return None
