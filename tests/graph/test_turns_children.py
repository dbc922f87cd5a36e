"""Runs within runs: what a child waits for is shown by the run around it, and answered there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from graph.test_turns import fail, perform, reply
from graph.turning import KIND, NODE

from fakes.driver import Driver
from fakes.graphs import document, end, node, start, template
from fakes.moments import ask
from perdure_graph.children import ChildNews
from perdure_graph.commands import (
    Approve,
    Begin,
    Call,
    ChildHeard,
    EffectFailed,
    Pause,
    Resume,
    Retry,
    Stop,
    Submit,
    TellChild,
)
from perdure_graph.errors import CommandRefused
from perdure_graph.events import RunPaused, RunResumed
from perdure_graph.graph import Document, Graph, NodeSpec
from perdure_graph.nodes import registry
from perdure_graph.request import RunOptions, RunRequest
from perdure_graph.step import step
from perdure_graph.view import view


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry(), KIND, NODE)
    yield


def turning(first: list[str], child: Document | None = None, **data: Any) -> NodeSpec:
    return node("k", KIND, first=first, child=child and child.model_dump(mode="json"), **data)


def around(spec: NodeSpec, *more: NodeSpec) -> Document:
    edges = [
        ("start", spec.id),
        (spec.id, "end"),
        *((("start", one.id)) for one in more),
        *((one.id, "end") for one in more),
    ]
    return document([start(x="number"), spec, *more, end(out=["k", "log"])], edges)


def asking(answer: str = "x") -> Document:
    """A child that asks a person, and then renders something."""
    return document(
        [start(x="number"), ask("f"), template("t", "{# #}" + answer), end(said=["t", "output"])],
        [("start", "f"), ("f", "go", "t"), ("t", "end")],
        name="asking",
    )


def driver(drawn: Document, **options: Any) -> Driver:
    request = RunRequest(graph=drawn, inputs={"x": 1}, tenant="acme", user="ann", options=RunOptions(**options))
    run = Driver(Graph.from_document(drawn), request, performer=perform, round_trip=True)
    run.send(Begin())
    return run


def inner(run: Driver, key: str) -> Driver:
    child = run.pending[key]
    assert isinstance(child, Driver)
    return child


def to_rest(run: Driver) -> None:
    while run.tick():
        pass


def test_a_child_knows_whose_it_is() -> None:
    run = driver(around(turning(["c:1"], asking())), max_steps=9, deadline_s=99.0, on_failure="wait")
    state = inner(run, "k#c:1").state
    assert (state.run_id, state.scope, state.called, state.depth) == ("run", "k#c:1", "k#c:1", 2)
    assert (state.tenant, state.asked.user, state.flow) == ("acme", "ann", "graph")
    assert (state.options.max_steps, state.options.deadline_s, state.options.on_failure) == (None, None, "wait")
    assert (state.root.scope or {})["sys"]["workflow_run_id"] == "run/k#c:1"


def test_a_run_whose_child_waits_for_a_person_is_paused_and_passes_the_answer_on() -> None:
    run = driver(around(turning(["c:1", "e:2"], asking("yes"))))
    assert run.state.status == "running"
    assert [form.key for form in view(run.graph, run.state, run.now).forms] == ["k#c:1/f"]
    to_rest(run)
    shown = view(run.graph, run.state, run.now)
    assert shown.status == "paused"
    assert shown.reasons == [{"type": "human_input_required", "key": "k#c:1/f", "node_id": "k"}]
    assert [(form.key, form.node_id, form.title, form.form.content) for form in shown.forms] == [
        ("k#c:1/f", "k", "f", "?")
    ]
    with pytest.raises(CommandRefused, match="open: 'k#c:1/f'"):
        run.send(Submit(form="k#c:1/g", action="go"))
    with pytest.raises(CommandRefused, match="no action 'stay'"):
        run.send(Submit(form="k#c:1/f", action="stay"))
    with pytest.raises(CommandRefused, match="use submit"):
        run.send(Resume())
    run.send(Submit(form="k", action="go", id="a"))
    run.send(Submit(form="k", action="go", id="a"))
    assert run.state.status == "running"
    to_rest(run)
    assert run.state.status == "succeeded"
    assert run.state.outputs["out"][-1].startswith("c:1={'said': 'made {# #}yes'")
    kinds = [type(event) for event in run.state.events if isinstance(event, RunPaused | RunResumed)]
    assert kinds == [RunPaused, RunResumed]


def test_a_child_at_rest_holds_no_place() -> None:
    run = driver(around(turning(["c:1"], asking()), template("t", "{# #}{{ x }}", x=["start", "x"])), max_parallel=1)
    to_rest(run)
    assert run.state.root.nodes["t"].status == "succeeded"
    assert run.state.status == "paused"


def test_children_of_children_are_answered_at_the_top() -> None:
    middle = around(turning(["c:1", "f:1"], asking("deep")))
    run = driver(around(turning(["c:0"], middle)))
    to_rest(run)
    shown = view(run.graph, run.state, run.now)
    assert [form.key for form in shown.forms] == ["k#c:0/k#f:1", "k#c:0/k#c:1/f"]
    deepest = inner(inner(run, "k#c:0"), "k#c:1").state
    assert (deepest.scope, deepest.depth) == ("k#c:0/k#c:1", 3)
    run.send(Approve(call="1"))
    run.send(Submit(form="k#c:0/k#c:1/f", action="go"))
    to_rest(run)
    assert run.state.status == "succeeded"
    scopes = {(call.effect.meta.scope, call.effect.meta.idempotency_key) for call in run.calls if call.effect.meta}
    assert ("k#c:0/k#c:1", "run/k#c:0/k#c:1/t#1/1") in scopes


def test_a_pause_reaches_children_and_they_rest_before_the_run_does() -> None:
    run = driver(around(turning(["c:1"], around(turning(["e:1"], then={"e:1": ["e:2"]})))))
    run.send(Pause(reason="look"))
    assert run.state.status == "pausing"
    child = inner(run, "k#c:1")
    run.tick()
    assert (child.state.status, run.state.status) == ("paused", "paused")
    assert not child.state.tasks
    run.send(Resume())
    assert list(child.state.tasks) == ["k#e:2"]
    to_rest(run)
    assert run.state.status == "succeeded"


def test_a_form_answered_in_a_pause_keeps_the_run_paused() -> None:
    run = driver(around(turning(["c:1"], asking())))
    run.send(Pause())
    run.send(Submit(form="k#c:1/f", action="go"))
    to_rest(run)
    assert run.state.status == "paused"
    run.send(Resume())
    to_rest(run)
    assert run.state.status == "succeeded"


def test_a_child_that_fails_is_a_failed_effect_and_one_that_waits_is_retried_from_the_top() -> None:
    broken = around(turning(["e:1"], limit="e:1"))
    run = driver(around(turning(["c:1"], broken)))
    to_rest(run)
    assert run.state.outputs["out"] == ["c:1=failed Limit"]
    run = driver(around(turning(["c:1"], broken)), on_failure="wait")
    to_rest(run)
    shown = view(run.graph, run.state, run.now)
    assert [(held.key, held.node_id, held.reason) for held in shown.held] == [("k#c:1/k", "k", "failed")]
    assert shown.status == "paused"
    with pytest.raises(CommandRefused, match="nodes that do: 'k#c:1/k'"):
        run.send(Retry(node="nobody"))
    run.send(Retry(node="k#c:1/k", outputs={"log": ["given"]}))
    to_rest(run)
    assert "given" in run.state.outputs["out"][0]


def test_an_effect_refused_in_a_child_is_asked_for_again_from_the_top() -> None:
    run = driver(around(turning(["c:1"], around(turning(["e:1"])))))
    child = inner(run, "k#c:1")
    fail(child, "k#e:1", refused=True)
    run.hear("k#c:1")
    assert [held.key for held in view(run.graph, run.state, run.now).held] == ["k#c:1/k#e:1"]
    run.send(Retry(node="k#c:1/k#e:1"))
    reply(child, "k#e:1")
    assert child.state.status == "succeeded"


def test_a_stop_cancels_children() -> None:
    run = driver(around(turning(["c:1"], asking())))
    run.send(Stop())
    assert (run.state.status, run.pending, run.state.children) == ("stopped", {}, {})


@pytest.mark.parametrize("alone", [True, False])
def test_runs_in_runs_end_somewhere(alone: bool) -> None:
    drawn = around(turning(["e:1"]))
    for _ in range(6):
        drawn = around(turning(["c:1"] if alone else ["c:1", "e:2"], drawn))
    run = driver(drawn)
    to_rest(run)
    assert run.state.status == "succeeded"
    text = str(run.state.outputs["out"])
    assert "TooDeep" in text
    depths = {call.effect.meta.scope.count("/") for call in run.calls if call.effect.meta and call.effect.meta.scope}
    assert depths == (set() if alone else {0, 1, 2, 3})


def test_old_news_and_news_of_strangers_change_nothing() -> None:
    run = driver(around(turning(["c:1"], asking())))
    known = run.state.children["k#c:1"]
    run.send(ChildHeard(ChildNews(key="k#c:1", number=known.number, status="running")))
    run.send(ChildHeard(ChildNews(key="k#c:9", number=9, status="paused")))
    assert run.state.children == {"k#c:1": known}


def test_a_command_for_a_child_goes_to_that_child() -> None:
    run = driver(around(turning(["c:1", "c:2"], asking())))
    state = run.state.model_copy(deep=True)
    told = step(run.graph, state, Submit(form="k#c:2/f", action="go", id="i"), 5)
    assert told == [TellChild(key="k#c:2", command=Submit(form="f", action="go", id="i"))]


def test_a_child_that_came_to_nothing_is_forgotten() -> None:
    run = driver(around(turning(["c:1"], asking())))
    del run.pending["k#c:1"]
    run.send(EffectFailed("k#c:1", "gone", "ChildCancelled"))
    assert run.state.children == {}
    assert run.state.outputs["out"] == ["c:1=failed ChildCancelled"]
    assert not any(isinstance(item, Call) for item in run.pending.values())
