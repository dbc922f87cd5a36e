"""Drive the pure core without a server: effects are performed in place, one at a time, in a chosen order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2

from perdure_graph.commands import (
    Begin,
    Call,
    Cancel,
    Command,
    Dispatch,
    EffectDone,
    EffectFailed,
    Input,
    OpenWindow,
    StartTimer,
    TellWindows,
    TimerFired,
    WindowDone,
)
from perdure_graph.effects import CodeResult, Effect, Rendered, RenderTemplate, Reply, RunCode
from perdure_graph.errors import NodeError
from perdure_graph.graph import Graph, graph_of
from perdure_graph.request import RunRequest
from perdure_graph.state import RunState
from perdure_graph.step import open_run, step
from perdure_graph.windows import open_window, outcome_of

Pick = Callable[[int], int]


def perform(effect: Effect) -> Reply:
    """Perform templates and trusted Python snippets in this process."""
    match effect:
        case RenderTemplate():
            return Rendered(text=jinja2.Template(effect.template).render(effect.variables))
        case RunCode():
            scope: dict[str, Any] = {}
            exec(effect.code, scope)
            try:
                return CodeResult(result=scope["main"](**effect.inputs), engine="cpython")
            except Exception as error:
                raise NodeError(str(error), "CodeExecutionError") from error
        case _:
            raise AssertionError(f"no fake for {effect!r}")


class Driver:
    """One run in memory. `pick` chooses which of n pending things comes back next (0 = the oldest)."""

    def __init__(
        self,
        graph: Graph,
        request: RunRequest,
        *,
        pick: Pick = lambda _n: 0,
        performer: Callable[[Effect], Reply] = perform,
        round_trip: bool = False,
    ) -> None:
        self.graph = graph
        self.state = open_run(graph, request, "run", 1_000)
        self.pick = pick
        self.performer = performer
        self.round_trip = round_trip
        self.now = 1_000
        self.pending: dict[str, Call | StartTimer | Driver] = {}
        self.calls: list[Call] = []

    def window(self, asked: OpenWindow) -> Driver:
        """Open a window as a run of its own in memory; its calls count as ours."""
        child = Driver.__new__(Driver)
        child.graph = graph_of(asked.request.graph)
        child.state = open_window(child.graph, asked.request, self.now)
        child.pick, child.performer, child.round_trip = self.pick, self.performer, self.round_trip
        child.now, child.pending, child.calls = self.now, {}, self.calls
        child.send(Begin())
        return child

    def send(self, happened: Input) -> None:
        """Apply one input."""
        if self.round_trip:
            self.state = RunState.model_validate_json(self.state.model_dump_json())
        self._take(step(self.graph, self.state, happened, self.now))

    def _take(self, dispatches: list[Dispatch]) -> None:
        for dispatch in dispatches:
            if isinstance(dispatch, Cancel):
                self.pending.pop(dispatch.key, None)
            elif isinstance(dispatch, OpenWindow):
                self.pending[dispatch.key] = self.window(dispatch)
            elif isinstance(dispatch, TellWindows):
                for child in [each for each in self.pending.values() if isinstance(each, Driver)]:
                    child.send(dispatch.command)
            else:
                assert dispatch.key not in self.pending
                self.pending[dispatch.key] = dispatch
                if isinstance(dispatch, Call):
                    self.calls.append(dispatch)

    def tick(self) -> bool:
        """Let one pending thing come back; False when nothing is pending. Form timeouts come last."""
        waiting = self.state.waiting
        keys = [key for key in self.pending if key not in waiting]
        if not keys:
            return False
        key = keys[self.pick(len(keys))]
        self.now += 1
        item = self.pending[key]
        if isinstance(item, Driver):
            item.now = self.now
            item.tick()
            if item.state.ended:
                del self.pending[key]
                self.send(WindowDone(key, outcome_of(item.state)))
            return True
        del self.pending[key]
        if isinstance(item, StartTimer):
            self.send(TimerFired(key))
            return True
        try:
            reply = self.performer(item.effect)
        except NodeError as error:
            self.send(EffectFailed(key, error.message, error.error_type))
        else:
            self.send(EffectDone(key, reply))
        return True

    def run(self, *commands: Command) -> RunState:
        """Begin, apply commands, and go on until nothing is pending."""
        self.send(Begin())
        for command in commands:
            self.send(command)
        while self.tick():
            pass
        return self.state
