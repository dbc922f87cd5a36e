"""Nodes with several effects and forms under way at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from graph.turning import KIND, NODE

from fakes.driver import Driver
from fakes.graphs import document, end, node, start
from perdure_graph.commands import (
    Approve,
    Begin,
    Call,
    Deny,
    EffectDone,
    EffectFailed,
    Pause,
    Resume,
    Retry,
    Stop,
    Submit,
    TimerFired,
)
from perdure_graph.effects import Effect, HttpReply, Rendered, RenderTemplate, Reply, SendHttp
from perdure_graph.errors import CommandRefused
from perdure_graph.events import AgentThought, FormRequired, FormTimeout, NodeFinished, NodeHeld, NodeReleased
from perdure_graph.graph import Document, Graph
from perdure_graph.nodes import registry
from perdure_graph.nodes.base import Context, Outcome
from perdure_graph.request import RunOptions, RunRequest
from perdure_graph.state import RunState
from perdure_graph.view import view


@pytest.fixture(autouse=True)
def kind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry(), KIND, NODE)
    yield


def perform(effect: Effect) -> Reply:
    match effect:
        case SendHttp():
            return HttpReply(status_code=200, headers={}, body=f"got {effect.url}")
        case RenderTemplate():
            return Rendered(text=f"made {effect.template}")
        case _:
            raise AssertionError(effect)


def flow(first: list[str], **data: Any) -> Document:
    return document(
        [start(n="number"), node("k", KIND, first=first, **data), end(out=["k", "log"])], [("start", "k"), ("k", "end")]
    )


def driver(first: list[str], options: RunOptions | None = None, **data: Any) -> Driver:
    drawn = flow(first, **data)
    request = RunRequest(graph=drawn, inputs={"n": 1}, options=options or RunOptions())
    return Driver(Graph.from_document(drawn), request, performer=perform, round_trip=True)


def begun(first: list[str], options: RunOptions | None = None, **data: Any) -> Driver:
    run = driver(first, options, **data)
    run.send(Begin())
    return run


def reply(run: Driver, key: str) -> None:
    call = run.pending.pop(key)
    assert isinstance(call, Call)
    run.send(EffectDone(key, perform(call.effect)))


def fail(run: Driver, key: str, **how: Any) -> None:
    call = run.pending.pop(key)
    assert isinstance(call, Call)
    run.send(EffectFailed(key, "no", "No", **how, effect=call.effect))


def status_of(state: RunState) -> str:
    return state.root.nodes["k"].status


def of(run: Driver, kind: type[Any]) -> list[Any]:
    return [event for event in run.state.events if isinstance(event, kind)]


def test_several_effects_come_back_in_any_order_and_more_begin_meanwhile() -> None:
    run = begun(["e:1", "e:2"], then={"e:2": ["r:3"]})
    assert list(run.state.tasks) == ["k#e:1", "k#e:2"]
    reply(run, "k#e:2")
    reply(run, "k#r:3")
    reply(run, "k#e:1")
    assert run.state.status == "succeeded"
    assert run.state.outputs["out"] == ["e:2=got http://x/e:2", "r:3=made r:3", "e:1=got http://x/e:1"]
    names = [call.effect.meta.idempotency_key for call in run.calls if call.effect.meta]
    assert names == ["run/k#e:1/1", "run/k#e:2/1", "run/k#r:3/1"]


def test_a_failure_comes_to_the_node_and_does_not_end_it() -> None:
    run = begun(["e:1", "e:2"])
    fail(run, "k#e:1")
    fail(run, "k#e:2", interrupted=True)
    assert run.state.status == "succeeded"
    assert run.state.outputs["out"] == ["e:1=failed No", "e:2=failed No interrupted"]


def test_forms_and_effects_are_open_side_by_side() -> None:
    run = begun(["e:1", "f:1", "f:2"])
    assert (run.state.status, status_of(run.state)) == ("running", "running")
    run.send(Submit(form="k#f:2", action="deny"))
    reply(run, "k#e:1")
    assert (run.state.status, status_of(run.state)) == ("paused", "waiting")
    shown = view(run.graph, run.state, run.now)
    assert [(form.key, form.node_id, form.form.content) for form in shown.forms] == [("k#f:1", "k", "f:1")]
    assert shown.reasons == [{"type": "human_input_required", "key": "k#f:1", "node_id": "k"}]
    run.send(Submit(form="k", action="approve", values={"arguments": "[1]"}))
    assert run.state.outputs["out"] == ["f:2=deny {}", "e:1=got http://x/e:1", "f:1=approve [1]"]


def test_each_form_has_a_clock_of_its_own() -> None:
    run = begun(["f:1", "f:2"], timeout_s=5.0)
    assert [event.expires_at for event in of(run, FormRequired)] == [6_000, 6_000]
    del run.pending["k#f:1"]
    run.send(TimerFired("k#f:1"))
    assert [event.key for event in of(run, FormTimeout)] == ["k#f:1"]
    run.send(Submit(form="k#f:2", action="deny"))
    assert run.state.outputs["out"] == ["f:1=timeout", "f:2=deny {}"]
    assert not run.pending


@pytest.mark.parametrize("how", ["done", "failed", "stopped", "deadline"])
def test_what_is_under_way_ends_with_the_node(how: str) -> None:
    data: dict[str, Any] = {"perdure": {"deadline_s": 9}} if how == "deadline" else {}
    run = begun(["e:1", "e:2", "f:1"], timeout_s=60.0, limit="e:1" if how == "failed" else "", **data)
    fail(run, "k#e:2", refused=True)
    assert status_of(run.state) == "held"
    match how:
        case "stopped":
            run.send(Stop())
        case "deadline":
            del run.pending["k!deadline"]
            run.send(TimerFired("k!deadline"))
        case "failed":
            reply(run, "k#e:1")
        case _:
            run.send(Retry(node="k#e:2"))
            reply(run, "k#e:1")
            reply(run, "k#e:2")
            run.send(Submit(form="k", action="deny"))
    assert run.state.ended
    assert run.pending == {}


def test_what_is_under_way_is_cancelled_before_another_attempt_and_keys_tell_them_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(registry(), KIND, replace(NODE, retries=True))
    run = begun(["e:1", "e:2"], limit="e:1", retry_config={"retry_enabled": True, "max_retries": 1})
    reply(run, "k#e:1")
    assert list(run.state.tasks) == ["k#1.2#e:1", "k#1.2#e:2"]
    # Its other side is to see that it is the same piece of work; what it keeps of its own is another.
    assert run.calls[0].effect.meta and run.calls[2].effect.meta
    assert run.calls[0].effect.meta.idempotency_key == run.calls[2].effect.meta.idempotency_key
    reply(run, "k#1.2#e:1")
    assert run.state.status == "failed"


def test_an_operators_retry_of_the_node_begins_anew_under_other_keys() -> None:
    run = begun(["e:1"], RunOptions(on_failure="wait"), limit="e:1")
    reply(run, "k#e:1")
    assert run.state.status == "paused"
    run.send(Retry(node="k"))
    assert list(run.state.tasks) == ["k#2#e:1"]
    memo: Any = run.state.root.nodes["k"].memo
    assert memo["thread"] == "run/k/2"


def test_a_node_that_is_retried_finds_what_it_left_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Any] = []

    def first(data: Any, ctx: Context) -> Outcome:
        found.append(ctx.memo)
        assert NODE.start is not None
        return NODE.start(data, ctx)

    monkeypatch.setitem(registry(), KIND, replace(NODE, start=first))
    run = begun(["e:1"], RunOptions(on_failure="wait"), then={"e:1": ["e:2"]}, limit="e:2")
    reply(run, "k#e:1")
    reply(run, "k#e:2")
    run.send(Retry(node="k"))
    assert [memo and memo["log"] for memo in found] == [None, ["e:1=got http://x/e:1"]]


def test_a_refused_effect_waits_alone_and_is_performed_again() -> None:
    run = begun(["e:1", "e:2"], then={"e:2": ["e:3"]})
    fail(run, "k#e:1", refused=True)
    assert run.state.status == "running"
    reply(run, "k#e:2")
    assert status_of(run.state) == "held"
    reply(run, "k#e:3")
    assert (run.state.status, status_of(run.state)) == ("paused", "held")
    shown = view(run.graph, run.state, run.now)
    assert [(held.key, held.node_id, held.reason) for held in shown.held] == [("k#e:1", "k", "refused")]
    with pytest.raises(CommandRefused, match="one effect of node 'k'"):
        run.send(Retry(node="k", outputs={"log": []}))
    run.send(Retry(node="k"))
    assert list(run.state.tasks) == ["k#e:1"]
    assert run.calls[-1].effect == run.calls[0].effect
    reply(run, "k#e:1")
    assert run.state.outputs["out"][-1] == "e:1=got http://x/e:1"
    assert [event.key for event in (*of(run, NodeHeld), *of(run, NodeReleased))] == ["k#e:1", "k#e:1"]


def test_a_pause_holds_new_effects_and_lets_forms_open() -> None:
    run = begun(["e:1"], then={"e:1": ["e:2", "f:1", "r:3"]})
    run.send(Pause(reason="look"))
    reply(run, "k#e:1")
    assert run.state.status == "paused"
    assert list(run.state.waiting) == ["k#f:1"]
    run.send(Submit(form="k#f:1", action="approve"))
    assert not run.state.tasks
    run.send(Resume())
    assert list(run.state.tasks) == ["k#e:2", "k#r:3"]
    while run.tick():
        pass
    assert run.state.outputs["out"][1:] == ["f:1=approve {}", "e:2=got http://x/e:2", "r:3=made r:3"]


def test_a_refused_effect_retried_in_a_pause_waits_for_the_resume() -> None:
    run = begun(["e:1"])
    fail(run, "k#e:1", refused=True)
    run.send(Pause())
    run.send(Retry(node="k#e:1"))
    assert not run.state.tasks and run.state.status == "paused"
    run.send(Resume())
    assert list(run.state.tasks) == ["k#e:1"]


def test_what_a_node_tells_becomes_events_before_its_end() -> None:
    run = driver(["e:1", "e:2"], tell=True)
    run.run()
    assert [event.position for event in of(run, AgentThought)] == [1, 2, 3]
    kinds = [event.type for event in run.state.events if getattr(event, "node_type", "") == KIND]
    assert kinds == ["node_started", *["agent_thought"] * 3, "node_finished"]


@pytest.mark.parametrize(
    ("first", "text"),
    [(["e:1", "e:1"], "'e:1', which is under way"), (["7"], "'7'"), ([], "waits for nothing"), ([""], "''")],
)
def test_a_turn_that_makes_no_sense_fails_the_node(first: list[str], text: str) -> None:
    run = driver(first)
    run.run()
    assert run.state.status == "failed" and run.state.error
    assert run.state.error.type == "BadTurn"
    assert text in run.state.error.message


def test_a_node_in_items_of_an_iteration_has_a_thread_and_keys_for_each() -> None:
    inner = node("m", KIND, "it", first=["e:1", "f:1"])
    inside = {"iterator_selector": ["start", "items", "l"], "output_selector": ["m", "thread"]}
    around = node("it", "iteration", start_node_id="its", is_parallel=True, parallel_nums=2, **inside)
    items = document(
        [
            start(items="json_object"),
            around,
            node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
            inner,
            end(out=["it", "output"]),
        ],
        [("start", "it"), ("it", "end"), ("its", "m")],
    )
    run = Driver(
        Graph.from_document(items),
        RunRequest(graph=items, inputs={"items": {"l": [1, 2]}}),
        performer=perform,
        round_trip=True,
    )
    run.run()
    assert list(run.state.waiting) == ["it[0].m#f:1", "it[1].m#f:1"]
    with pytest.raises(CommandRefused, match=r"several times: 'it\[0\].m#f:1', 'it\[1\].m#f:1'"):
        run.send(Approve(call="f:1"))
    for key in list(run.state.waiting):
        run.send(Approve(call=key))
    assert run.state.outputs["out"] == ["run/it[0].m/1", "run/it[1].m/1"]


def test_approve_and_deny_are_submissions_in_other_words() -> None:
    run = begun(["f:one", "f:two", "f:three"])
    run.send(Approve(call="one", arguments={"a": 1}, id="x"))
    run.send(Approve(call="one", id="x"))
    with pytest.raises(CommandRefused, match="no call 'call_one'"):
        run.send(Deny(call="call_one"))
    run.send(Deny(call="k#f:two", reason="no"))
    with pytest.raises(CommandRefused, match=r"cannot deny: no call 'one' waits.*'k#f:three'"):
        run.send(Deny(call="one"))
    run.send(Approve(call="call_three", comment="fine"))
    assert run.state.outputs["out"] == ['f:one=approve {"a": 1}', "f:two=deny {}", "f:three=approve {}"]
    filled = [event for event in run.state.events if event.type == "human_input_form_filled"]
    assert [(event.values["reason"], event.values["comment"]) for event in filled] == [
        ("", ""),
        ("no", ""),
        ("", "fine"),
    ]
    with pytest.raises(CommandRefused, match="cannot approve: run 'run' has ended"):
        run.send(Approve(call="k"))


def test_only_forms_with_both_actions_are_approvals() -> None:
    asked = node("k", "human-input", form_content="?", user_actions=[{"id": "approve", "title": ""}], timeout=1)
    drawn = document([start(), asked, end(out=["start", "n"])], [("start", "k"), ("k", "approve", "end")])
    run = Driver(Graph.from_document(drawn), RunRequest(graph=drawn), round_trip=True)
    run.send(Begin())
    with pytest.raises(CommandRefused, match="calls that do: none"):
        run.send(Approve(call="k"))
    finished = [event for event in run.state.events if isinstance(event, NodeFinished)]
    assert [event.node_id for event in finished] == ["start"]
