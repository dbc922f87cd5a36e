"""IterationWindow: some items of a large iteration, as a child workflow of their run."""

from __future__ import annotations

import asyncio
from typing import Any

from temporalio import workflow

from perdure_graph import naming
from perdure_graph.commands import Pause, Resume, Stop
from perdure_graph.errors import CommandRefused
from perdure_graph.graph import graph_of
from perdure_graph.request import RunStatus
from perdure_graph.step import check_command
from perdure_graph.view import EventPage, RunView, events_after, view
from perdure_graph.window import WindowOutcome, WindowRequest, WindowRest
from perdure_graph.windows import open_window, outcome_of

from .shell import Shell, continuation_of, now


@workflow.defn(name=naming.WINDOW_TYPE)
class IterationWindow:
    """Runs the items of a window. Input `WindowRequest`, output `WindowOutcome`; commands come from the run."""

    @workflow.init
    def __init__(self, request: Any = None) -> None:
        before = continuation_of(request)
        if before is not None:
            self._shell = Shell(graph_of(before.graph), before.state, before, self._watch)
        else:
            asked = WindowRequest.model_validate(request)
            graph = graph_of(asked.graph)
            self._shell = Shell(graph, open_window(graph, asked, now()), None, self._watch)
        self._news: list[WindowRest] = []

    @workflow.run
    async def run(self, request: Any = None) -> WindowOutcome:  # noqa: ARG002 - read in __init__
        """Run the items to their end."""
        shell = self._shell
        telling = asyncio.create_task(self._tell())
        try:
            if (continuation := await shell.drive()) is not None:
                workflow.continue_as_new(continuation)
        except asyncio.CancelledError:
            shell.apply(Stop(reason="cancelled"))
            await shell.close()
            raise
        finally:
            telling.cancel()
        if shell.crash is not None:
            # A bug of ours: fail the workflow task, so that the run goes on once the code is mended.
            raise shell.crash
        await shell.close()
        return outcome_of(shell.state)

    def _watch(self, before: RunStatus, after: RunStatus) -> None:
        if "paused" in (before, after):
            state = self._shell.state
            key = state.scope.removeprefix(f"{state.within}/") if state.within else state.scope
            self._news.append(WindowRest(key=key, paused=after == "paused"))

    async def _tell(self) -> None:
        """Tell the run when this window comes to rest after a pause, and when it goes on."""
        parent = workflow.info().parent
        while parent is not None:
            await workflow.wait_condition(lambda: bool(self._news))
            await workflow.get_external_workflow_handle(parent.workflow_id).signal(
                naming.WINDOW_REST, self._news.pop(0)
            )

    def _apply(self, command: Pause | Resume) -> None:
        try:
            check_command(self._shell.graph, self._shell.state, command)
        except CommandRefused:
            # Told already: the run repeats itself when it moves to a fresh history.
            return
        self._shell.deliver(command)

    @workflow.signal(name=naming.PAUSE)
    def pause(self, command: Pause) -> None:
        """Start nothing new."""
        self._apply(command)

    @workflow.signal(name=naming.RESUME)
    def resume(self, command: Resume) -> None:
        """Go on."""
        self._apply(command)

    @workflow.query(name=naming.STATUS)
    def status(self) -> RunView:
        """Where the window is."""
        return view(self._shell.graph, self._shell.state, now())

    @workflow.query(name=naming.EVENTS)
    def events(self, after: int = 0) -> EventPage:
        """Events numbered above `after`, one page."""
        return events_after(self._shell.state, after)
