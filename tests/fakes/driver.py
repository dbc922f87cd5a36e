"""Drive the pure core without a server: effects are performed in place, one at a time, in a chosen order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import jinja2

from perdure_graph import child_runs
from perdure_graph.children import ChildEffect, RunFlow
from perdure_graph.commands import (
    Begin,
    Call,
    Cancel,
    ChildHeard,
    Command,
    Dispatch,
    EffectDone,
    EffectFailed,
    Input,
    OpenWindow,
    StartTimer,
    TellChild,
    TellWindows,
    TimerFired,
    WindowDone,
)
from perdure_graph.effects import CodeResult, Effect, Rendered, RenderTemplate, Reply, RunCode
from perdure_graph.errors import CommandRefused, NodeError
from perdure_graph.graph import Graph, graph_of
from perdure_graph.nested import flow_answer, open_flow
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

    def child(self, asked: Call, effect: ChildEffect) -> Driver:
        """Open a graph that performs an effect, as a run of its own in memory; its calls count as ours."""
        assert isinstance(effect, RunFlow) and effect.meta is not None
        child = Driver.__new__(Driver)
        child.graph = Graph.from_document(effect.graph)
        child.state = open_flow(child.graph, effect, f"run/{effect.meta.scope}", self.now)
        child.pick, child.performer, child.round_trip = self.pick, self.performer, self.round_trip
        child.now, child.pending, child.calls = self.now, {}, self.calls
        child.send(Begin())
        return child

    def order(self, command: Command) -> None:
        """Apply a command that nobody waits for."""
        with suppress(CommandRefused):
            self.send(command)

    @property
    def due(self) -> list[str]:
        """Keys of what can come back: not the timeouts of forms, nor children that wait for somebody."""
        pending = self.pending.items()
        return [
            k for k, item in pending if k not in self.state.waiting and not (isinstance(item, Driver) and item.idle)
        ]

    @property
    def idle(self) -> bool:
        """Whether nothing goes on in it."""
        return not self.due and not self.state.ended

    def hear(self, key: str) -> None:
        """Hear from a child, when it has something to tell."""
        child = self.pending[key]
        assert isinstance(child, Driver)
        if child.state.called and not child.state.ended:
            news = child_runs.news(child.graph, child.state)
            if news is not None:
                self.send(ChildHeard(news))

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
                for key, child in [(k, each) for k, each in self.pending.items() if isinstance(each, Driver)]:
                    child.order(dispatch.command)
                    self.hear(key)
            elif isinstance(dispatch, TellChild):
                child = self.pending[dispatch.key]
                assert isinstance(child, Driver)
                child.order(dispatch.command)
                self.hear(dispatch.key)
            elif isinstance(dispatch, Call) and isinstance(dispatch.effect, ChildEffect):
                assert dispatch.key not in self.pending
                self.pending[dispatch.key] = self.child(dispatch, dispatch.effect)
                self.hear(dispatch.key)
            else:
                assert dispatch.key not in self.pending
                self.pending[dispatch.key] = dispatch
                if isinstance(dispatch, Call):
                    self.calls.append(dispatch)

    def tick(self) -> bool:
        """Let one pending thing come back; False when nothing is pending. Form timeouts come last."""
        keys = self.due
        if not keys:
            return False
        key = keys[self.pick(len(keys))]
        self.now += 1
        item = self.pending[key]
        if isinstance(item, Driver):
            self.advance(key)
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

    def advance(self, key: str) -> None:
        """Let one thing come back in a child."""
        child = self.pending[key]
        assert isinstance(child, Driver)
        child.now = self.now
        child.tick()
        if not child.state.ended:
            self.hear(key)
            return
        del self.pending[key]
        if not child.state.called:
            self.send(WindowDone(key, outcome_of(child.state)))
            return
        try:
            answer = flow_answer(child.state, f"run/{child.state.scope}")
        except NodeError as error:
            self.send(EffectFailed(key, error.message, error.error_type))
        else:
            self.send(EffectDone(key, answer))

    def run(self, *commands: Command) -> RunState:
        """Begin, apply commands, and go on until nothing is pending."""
        self.send(Begin())
        for command in commands:
            self.send(command)
        while self.tick():
            pass
        return self.state
