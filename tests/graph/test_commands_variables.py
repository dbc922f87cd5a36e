"""`set_variables`: what may be written, what is refused, and who sees the new values."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.driver import Driver
from fakes.graphs import document, end, node
from fakes.moments import MOMENTS, driver, line, worker
from perdure_graph.commands import Begin, Pause, Resume, SetVariables
from perdure_graph.errors import CommandRefused
from perdure_graph.events import VariablesSet
from perdure_graph.graph import Document, Variable
from perdure_graph.request import Pin
from perdure_graph.values import ValueType
from perdure_graph.view import result

SECRET = "hunter2"


def flow() -> Document:
    mode = {"variable": "mode", "label": "mode", "type": "select", "options": ["a", "b"]}
    number = {"variable": "n", "label": "n", "type": "number"}
    first, then = worker("k", ["start", "n"]), worker("then", ["k", "r"])
    return document(
        [node("start", "start", variables=[number, mode]), first, then, end(out=["then", "r"])],
        [("start", "k"), ("k", "then"), ("then", "end")],
        conversation=(Variable(name="memory", value_type=ValueType.ARRAY_STRING, value=[]),),
        environment=(Variable(name="token", value_type=ValueType.SECRET, value=SECRET),),
    )


def paused(ticks: int = 1) -> Driver:
    run = driver(flow())
    run.send(Begin())
    run.send(Pause())
    for _ in range(ticks):
        run.tick()
    return run


def scope(run: Driver) -> dict[str, dict[str, Any]]:
    assert run.state.root.scope is not None
    return run.state.root.scope


def test_what_starts_later_reads_the_new_values() -> None:
    run = paused()
    run.send(SetVariables(variables={"k": {"r": 40}, "conversation": {"memory": ["x"]}, "start": {"mode": "b"}}))
    run.send(Resume())
    while run.tick():
        pass
    assert result(run.state).outputs == {"out": 41}
    assert result(run.state).conversation == {"memory": ["x"]}
    assert scope(run)["start"]["mode"] == "b"
    [event] = [e for e in run.state.events if isinstance(e, VariablesSet)]
    assert event.variables["k"] == {"r": 40}


def test_inputs_may_be_changed_before_the_run_starts() -> None:
    run = driver(flow())
    run.send(SetVariables(variables={"start": {"n": 10}}))
    assert result(run.run()).outputs == {"out": 12}


def test_secrets_stay_out_of_the_event() -> None:
    run = paused()
    run.send(SetVariables(variables={"env": {"token": "new-secret"}}))
    assert scope(run)["env"]["token"] == "new-secret"
    assert "new-secret" not in "".join(event.model_dump_json() for event in run.state.events)


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({}, "none was named"),
        ({"k": {}}, "none was named"),
        ({"sys": {"query": "x"}}, "sys.query: system variables belong to the run"),
        ({"conversation": {"memry": []}}, "conversation.memry.* Did you mean 'memory'"),
        ({"conversation": {"memory": [1]}}, r"conversation.memory: it must be array\[string\], got array\[number\]"),
        ({"env": {"other": 1}}, "env.other: the graph declares no such variable"),
        ({"env": {"token": 1}}, "env.token: it must be secret, got integer"),
        ({"k": {"r": "x"}}, "k.r: it must be number, got string"),
        ({"k": {"r": None}}, "k.r: it must be number, got none"),
        ({"k": {"q": 1}}, "node 'k' has no output 'q'"),
        (
            {"then": {"r": 1}},
            "node 'then' has no outputs in the top frame .it has none yet.. Nodes that have: 'start', 'k'",
        ),
        ({"nobody": {"r": 1}}, "the graph has no node 'nobody'"),
        ({"start": {"n": "x"}}, "start.n: it must be number, got string"),
        ({"start": {"mode": "c"}}, "start.mode: .*must be one of the following"),
        ({"start": {"m": 1}}, "node 'start' has no output 'm'"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(variables: dict[str, Any], text: str) -> None:
    run = paused()
    before = run.state.model_dump()
    with pytest.raises(CommandRefused, match=text):
        run.send(SetVariables(variables=variables))
    with pytest.raises(CommandRefused):
        run.send(SetVariables(variables={"conversation": {"memory": ["half"]}, "sys": {"files": []}} | variables))
    assert run.state.model_dump() == before


def test_outputs_inside_an_item_are_not_in_the_top_frame() -> None:
    run = MOMENTS["in an item of an iteration"]()
    with pytest.raises(CommandRefused, match=r"node 'k' has no outputs in the top frame .it lies inside 'it'."):
        run.send(SetVariables(variables={"k": {"r": 7}}))


def test_a_value_without_a_declared_type_keeps_the_type_it_has() -> None:
    tool = node(
        "t",
        "tool",
        provider_id="p",
        provider_type="builtin",
        provider_name="p",
        tool_name="t",
        tool_label="t",
        tool_configurations={},
        tool_parameters={},
    )
    pin = Pin(outputs={"extra": [1, 2], "nothing": None})
    run = driver(line(tool, worker("after", ["start", "n"])), pins={"t": pin})
    run.send(Begin())
    run.send(SetVariables(variables={"t": {"extra": [3.5], "nothing": "anything"}}))
    with pytest.raises(CommandRefused, match=r"t.extra: it must be array\[number\], got array\[string\]"):
        run.send(SetVariables(variables={"t": {"extra": ["x"]}}))
