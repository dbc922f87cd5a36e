"""Forms inside runs, on the pure core: timeouts, several at once, a failing branch beside one."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.driver import Driver
from fakes.graphs import code, document, end, node, start
from perdure_graph.commands import Begin, Pause, Resume, Submit, TimerFired
from perdure_graph.errors import CommandRefused
from perdure_graph.events import FormTimeout
from perdure_graph.graph import Document, Graph
from perdure_graph.request import RunRequest
from perdure_graph.view import result


def ask(node_id: str) -> Any:
    actions = [{"id": "go", "title": "Go"}, {"id": "no", "title": "No"}]
    return node(
        node_id, "human-input", form_content="?", inputs=[], user_actions=actions, timeout=2, timeout_unit="hour"
    )


def two_forms() -> Document:
    return document(
        [
            start(n="number"),
            ask("a"),
            ask("b"),
            end("end", a=["a", "__action_id"], b=["b", "__action_id"]),
            end("late", late=["start", "n"]),
        ],
        [("start", "a"), ("start", "b"), ("a", "go", "end"), ("b", "go", "end"), ("a", "__timeout", "late")],
    )


def driver(flow: Document) -> Driver:
    run = Driver(Graph.from_document(flow), RunRequest(graph=flow, inputs={"n": 1}), round_trip=True)
    run.send(Begin())
    return run


@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_parallel_forms_are_answered_in_any_order(order: tuple[str, str]) -> None:
    run = driver(two_forms())
    assert run.state.status == "paused"
    run.send(Submit(form=order[0], action="go"))
    assert run.state.status == "paused"
    with pytest.raises(CommandRefused, match="no single form"):
        run.send(Submit(form=order[0], action="go"))
    run.send(Submit(form=order[1], action="go"))
    assert result(run.state).outputs == {"a": "go", "b": "go"}
    assert run.pending == {}, "the deadlines of answered forms are cancelled"


def test_a_form_that_nobody_answers_takes_its_timeout_branch() -> None:
    run = driver(two_forms())
    assert {key: timer.seconds for key, timer in run.pending.items()} == {"a": 7200.0, "b": 7200.0}
    del run.pending["a"]
    run.send(TimerFired("a"))
    assert [event.node_id for event in run.state.events if isinstance(event, FormTimeout)] == ["a"]
    run.send(Submit(form="b", action="no"))
    assert (run.state.status, result(run.state).outputs) == ("succeeded", {"late": 1})


def test_a_form_may_be_answered_while_the_run_is_paused() -> None:
    run = driver(two_forms())
    run.send(Pause(reason="lunch"))
    run.send(Submit(form="a", action="go"))
    run.send(Submit(form="b", action="go"))
    assert run.state.status == "paused"
    run.send(Resume())
    assert result(run.state).outputs == {"a": "go", "b": "go"}


def test_a_failure_beside_a_form_ends_the_run_and_the_form() -> None:
    flow = document(
        [start(n="number"), ask("a"), code("bad", "def main():\n    raise ValueError('x')", {"r": "number"}), end()],
        [("start", "a"), ("start", "bad"), ("a", "go", "end"), ("bad", "end")],
    )
    run = driver(flow)
    while run.tick():
        pass
    assert (run.state.status, run.pending) == ("failed", {})
    with pytest.raises(CommandRefused, match="has ended"):
        run.send(Submit(form="a", action="go"))
