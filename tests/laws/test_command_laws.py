"""Laws of commands: whatever people send, whenever, in whatever order with what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from graph.turning import KIND, NODE
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.driver import Driver
from fakes.graphs import document, end, node, start
from fakes.moments import ask, worker
from perdure_graph.commands import (
    Approve,
    Begin,
    Call,
    Command,
    Deny,
    Drain,
    EffectDone,
    EffectFailed,
    GoOn,
    Input,
    Pause,
    Resume,
    Retry,
    SetVariables,
    StartTimer,
    Stop,
    Submit,
    TimerFired,
)
from perdure_graph.effects import CodeResult, Effect, HttpReply, Reply, RunCode
from perdure_graph.errors import CommandRefused
from perdure_graph.graph import Document, Graph, NodeSpec
from perdure_graph.nodes import registry
from perdure_graph.request import RunOptions, RunRequest
from perdure_graph.timers import armed
from perdure_graph.view import events_after, view

RETRY = {"retry_enabled": True, "max_retries": 1}


@pytest.fixture(autouse=True, scope="module")
def kind() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry(), KIND, replace(NODE, retries=True))
        yield


def child() -> Document:
    """A graph that asks a person and calls a server."""
    return document(
        [start(x="number"), ask("f"), node("m", KIND, first=["e:1", "f:1"]), end(said=["m", "log"])],
        [("start", "f"), ("f", "go", "m"), ("m", "end")],
    )


@st.composite
def flows(draw: st.DrawFn) -> Document:
    """start -> (code, form, several things at once, iteration of code or form, loop of code), side by side or in a row
    -> end.
    """

    def some_options() -> dict[str, Any]:
        found: dict[str, Any] = {"retry_config": RETRY | {"retry_interval": draw(st.sampled_from([0, 1000]))}}
        options: dict[str, Any] = {}
        if draw(st.booleans()):
            options["retry"] = draw(st.sampled_from(["never", "keyed"]))
        if draw(st.booleans()):
            options["deadline_s"] = 30
        if draw(st.integers(0, 3)) == 0:
            found["error_strategy"] = "fail-branch"
        return found | {"perdure": options}

    def around(spec: NodeSpec, **data: Any) -> NodeSpec:
        options = {"perdure": {"deadline_s": 60}} if draw(st.booleans()) else {}
        return spec.model_copy(update={"data": spec.data | data | options})

    mode = draw(st.sampled_from(["terminated", "continue-on-error"]))
    item = draw(st.sampled_from([ask("m", "it"), worker("m", ["it", "item"], "it", **some_options())]))
    source = ["start", "items", "l"]
    iteration = node("it", "iteration", start_node_id="its", iterator_selector=source, output_selector=["m", "r"])
    parallel = {"is_parallel": True, "parallel_nums": 2, "error_handle_mode": mode}
    loop = node("loop", "loop", start_node_id="ls", loop_count=2, loop_variables=[], break_conditions=[])
    tops = [
        worker("k", ["start", "n"], **some_options()),
        ask("f"),
        around(iteration, **parallel),
        around(loop),
        node(
            "t",
            KIND,
            first=draw(st.lists(st.sampled_from(["e:1", "e:2", "f:1", "c:1"]), min_size=1, unique=True)),
            then={"e:1": ["e:3", "f:3"], "f:1": ["c:3"]},
            needs=draw(st.sampled_from(["", "", "e:2"])),
            timeout_s=draw(st.sampled_from([None, 20.0])),
            child=child().model_dump(mode="json"),
            **some_options(),
        ),
    ]
    hidden = [
        node("its", "iteration-start", "it"),
        item,
        node("ls", "loop-start", "loop", loop_id="loop"),
        worker("r", ["start", "n"], "loop", loop_id="loop", **some_options()),
    ]
    chosen = draw(st.lists(st.sampled_from(tops), min_size=1, max_size=4, unique_by=lambda spec: spec.id))
    edges: list[tuple[str, ...]] = [("its", "m"), ("ls", "r")]
    previous = ["start"]
    for spec in chosen:
        edges += [(before, spec.id) if before != "f" else (before, "go", spec.id) for before in previous[-1:]]
        previous = [*previous, spec.id] if draw(st.booleans()) else ["start"]
    edges += [(spec.id, "go", "end") if spec.id == "f" else (spec.id, "end") for spec in chosen]
    return document([start(n="number", items="json_object"), *tops, *hidden, end(out=["start", "n"])], edges)


def commands() -> st.SearchStrategy[Command]:
    keys = st.sampled_from(["k", "f", "m", "r", "it", "it[0].m", "it[1].m", "loop[0].r", "loop[1].r"])
    parts = st.sampled_from(["t#f:1", "t#e:1", "t#c:1/f", "t#c:3/m#f:1", "t#c:1/m#e:1", "t#2#f:1", "call_1"])
    ids = st.sampled_from(["", "", "", "a", "b"])
    return st.one_of(
        st.builds(Pause, id=ids),
        st.builds(Resume, id=ids),
        st.builds(Retry, id=ids, node=keys, outputs=st.sampled_from([None, {"r": 1}])),
        st.builds(Submit, id=ids, form=keys, action=st.just("go")),
        st.builds(Submit, id=ids, form=parts, action=st.sampled_from(["go", "approve"])),
        st.builds(Retry, id=ids, node=parts),
        st.builds(Approve, id=ids, call=parts),
        st.builds(Deny, id=ids, call=parts),
        st.builds(SetVariables, id=ids, variables=st.sampled_from([{"start": {"n": 2}}, {"k": {"r": 2}}, {}])),
    )


def answer(effect: Effect) -> Reply:
    """Answer what the nodes of these flows ask for."""
    if isinstance(effect, RunCode):
        return CodeResult(result={"r": 1}, engine="monty")
    return HttpReply(status_code=200, headers={}, body="")


class Watched:
    """A run that is checked after every input."""

    def __init__(self, flow: Document, options: RunOptions) -> None:
        request = RunRequest(graph=flow, inputs={"n": 1, "items": {"l": [1, 2, 3]}}, options=options)
        self.run = Driver(Graph.from_document(flow), request, performer=answer, round_trip=True)

    def send(self, happened: Input) -> None:
        run = self.run
        calls, before = self.calls, run.state.model_dump()
        ended = run.state.ended
        try:
            run.send(happened)
        except CommandRefused:
            assert run.state.model_dump() == before
        if ended:
            assert run.state.model_dump() == before, "the end is the end"
        if run.state.halted or run.state.ended:
            assert self.calls == calls, "nothing starts"
        self.check()

    @property
    def calls(self) -> int:
        """Effects that the run itself has asked for."""
        return sum(call.effect.meta is not None and not call.effect.meta.scope for call in self.run.calls)

    def check(self) -> None:
        run, state = self.run, self.run.state
        assert [event.seq for event in state.events] == list(range(1, state.seq + 1))
        assert {k for k, item in run.pending.items() if isinstance(item, Call | Driver)} == set(state.tasks)
        assert {k for k, item in run.pending.items() if isinstance(item, Driver)} == set(state.children)
        timers = {key for key, item in run.pending.items() if isinstance(item, StartTimer)}
        assert timers == {timer.key for timer in armed(state, run.now)}
        for key, failure in state.failures.items():
            assert state.frames[failure.frame].nodes[failure.node].status == "held", key
        if state.pause is not None and not state.ended:
            assert state.status == ("pausing" if state.busy else "paused")
        for frame in state.frames.values():
            for ran in frame.nodes.values():
                assert set(ran.forms) <= set(ran.under), "a form is one of the things that are under way"
        if state.ended:
            assert not run.pending
        view(run.graph, state, run.now)
        events_after(state, 0)

    def come_back(self, index: int, how: str) -> None:
        """Let a pending thing come back: well, failed, interrupted, or refused."""
        keys = list(self.run.pending)
        if not keys:
            return
        key = keys[index % len(keys)]
        item = self.run.pending[key]
        self.run.now += 10
        if isinstance(item, Driver):
            self.run.advance(key)
            self.check()
            return
        del self.run.pending[key]
        if isinstance(item, StartTimer):
            self.send(TimerFired(key))
        elif how == "done":
            self.send(EffectDone(key, answer(item.effect)))
        else:
            refused = how == "refused"
            effect = item.effect if refused else None
            self.send(EffectFailed(key, "no", "No", interrupted=how == "interrupted", refused=refused, effect=effect))

    def to_the_end(self) -> None:
        """Do what operators would until the run has ended."""
        for _ in range(200):
            state = self.run.state
            if state.ended:
                return
            self.send(GoOn())
            self.send(Resume())
            shown = view(self.run.graph, self.run.state, self.run.now)
            for form in shown.forms:
                self.send(Submit(form=form.key, action=form.form.actions[0].id))
            for held in shown.held:
                self.send(Retry(node=held.key))
            keys = [key for key in self.run.due if key in self.run.state.tasks or key in self.run.state.timers]
            if keys:
                self.come_back(list(self.run.pending).index(keys[0]), "done")
        raise AssertionError(f"the run does not end: {self.run.state.status}")


def happenings() -> st.SearchStrategy[Any]:
    hows = st.sampled_from(["done", "done", "failed", "interrupted", "refused"])
    return st.one_of(st.tuples(st.integers(0, 9), hows), st.tuples(st.integers(0, 9), hows), commands(), _DRAINS)


_DRAINS = st.sampled_from([Drain(), GoOn()])
_OPTIONS = st.builds(
    RunOptions,
    max_parallel=st.sampled_from([1, 2, 500]),
    on_failure=st.sampled_from(["wait", "fail"]),
    deadline_s=st.sampled_from([None, 90.0]),
)


@settings(max_examples=200, deadline=None)
@given(flows(), _OPTIONS, st.lists(happenings(), max_size=25), st.integers(0, 25), st.integers(0, 40))
def test_any_commands_at_any_moment(
    flow: Document, options: RunOptions, plan: list[Any], begin: int, stop: int
) -> None:
    watched = Watched(flow, options)
    begin %= 3
    for index, what in enumerate([*plan, None, None, None]):
        if index == begin:
            watched.send(Begin())
        if index == stop:
            watched.send(Stop(reason="enough"))
            assert watched.run.state.ended
        if isinstance(what, tuple):
            watched.come_back(*what)
        elif what is not None:
            watched.send(what)
    watched.to_the_end()
