"""Rules of Dify's engine that differential runs brought to light, each on a minimal graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fakes.driver import Driver
from perdure_graph.events import ContainerCompleted, NodeFinished
from perdure_graph.graph import Graph
from perdure_graph.request import Pin, RunOptions, RunRequest
from perdure_graph.state import RunState

Edges = list[tuple[str, str]]


def node(name: str, kind: str, parent: str = "", **data: Any) -> dict[str, Any]:
    body = {"id": name, "type": "custom", "data": {"type": kind, "title": name, **data}}
    return body | ({"parentId": parent} if parent else {})


def template(name: str, text: str = "done", **variables: list[str]) -> dict[str, Any]:
    named = [{"variable": key, "value_selector": selector} for key, selector in variables.items()]
    return node(name, "template-transform", template=text, variables=named)


def tool(name: str, **data: Any) -> dict[str, Any]:
    return node(name, "tool", provider_id="p", tool_name="t", **data)


def end(*selectors: list[str], name: str = "end") -> dict[str, Any]:
    return node(name, "end", outputs=[{"variable": "_".join(s), "value_selector": s} for s in selectors])


def run(
    tmp_path: Path, nodes: list[dict[str, Any]], edges: Edges, *, parallel: int = 1, **pins: Pin
) -> tuple[RunState, list[str]]:
    drawn = [{"source": a, "sourceHandle": "source", "target": b} for a, b in edges]
    start = node("start", "start", variables=[])
    flow = tmp_path / "flow.yml"
    document = {
        "kind": "app",
        "version": "0.6.0",
        "app": {"mode": "workflow", "name": "parity"},
        "workflow": {"graph": {"nodes": [start, *nodes], "edges": drawn}},
    }
    flow.write_text(json.dumps(document))
    graph = Graph.load(flow)
    options = RunOptions(max_parallel=parallel)
    request = RunRequest(graph=graph.document, pins=pins, options=options)
    state = Driver(graph, request, round_trip=True).run()
    order = [e.node_id for e in state.events if isinstance(e, NodeFinished | ContainerCompleted)]
    return state, order


@pytest.mark.parametrize("parallel", [1, 2, 500])
@pytest.mark.parametrize("text", ["plain", "{{ 'in an activity' | upper }}"])
def test_nodes_that_become_ready_together_do_not_see_each_other(tmp_path: Path, parallel: int, text: str) -> None:
    nodes = [
        template("a", text),
        end(["a", "output"], name="beside"),
        end(["start", "x"], ["a", "output"], name="after"),
    ]
    edges = [("start", "a"), ("start", "beside"), ("a", "after")]
    state, _ = run(tmp_path, nodes[:2], edges[:2], parallel=parallel)
    assert state.outputs == {"a_output": None}
    state, _ = run(tmp_path, nodes, edges, parallel=parallel)
    assert state.outputs["a_output"] in ("plain", "IN AN ACTIVITY")


def test_a_join_sees_all_that_came_before_it(tmp_path: Path) -> None:
    nodes = [
        template("a", "A"),
        template("b", "B"),
        template("c", "{{ a }}{{ b }}", a=["a", "output"], b=["b", "output"]),
    ]
    edges = [("start", "a"), ("start", "b"), ("a", "c"), ("b", "c"), ("c", "end")]
    state, _ = run(tmp_path, [*nodes, end(["c", "output"])], edges)
    assert state.outputs == {"c_output": "AB"}


def test_a_retry_keeps_its_turn_before_what_follows_its_neighbours(tmp_path: Path) -> None:
    retry = {"retry_enabled": True, "max_retries": 1, "retry_interval": 1}
    nodes = [tool("t", retry_config=retry), template("a"), template("b"), template("u")]
    edges = [("start", "t"), ("start", "a"), ("a", "b"), ("t", "u")]
    state, order = run(tmp_path, nodes, edges, t=Pin(error="boom", fail_times=1))
    assert order == ["start", "a", "t", "b", "u"]
    assert (state.status, state.exceptions_count) == ("partial-succeeded", 1)


def looped(kind: str, value: Any, *items: dict[str, Any]) -> tuple[list[dict[str, Any]], Edges]:
    variable = {"label": "v", "var_type": kind, "value_type": "constant", "value": value}
    nodes = [
        node("l", "loop", start_node_id="ls", loop_count=1, loop_variables=[variable]),
        node("ls", "loop-start", "l", loop_id="l"),
        node("a", "assigner", "l", loop_id="l", version="2", items=list(items)),
        end(["l", "v"]),
    ]
    return nodes, [("start", "l"), ("ls", "a"), ("l", "end")]


WRONG: list[tuple[str, Any]] = [
    ("string", None),
    ("string", 5),
    ("number", ""),
    ("number", None),
    ("boolean", ""),
    ("object", "null"),
    ("array[boolean]", 5),
    ("array[boolean]", [1]),
    ("array[string]", "null"),
    ("array[number]", '["a"]'),
]
READ: list[tuple[str, Any, Any]] = [
    ("number", " 7 ", 7),
    ("boolean", "true", True),
    ("object", '{"a": 1}', {"a": 1}),
    ("string", "", ""),
    ("array[string]", None, []),
    ("array[string]", ["x"], []),
    ("array[boolean]", [True], [True]),
]


@pytest.mark.parametrize(("kind", "value"), WRONG)
def test_a_loop_fails_on_a_constant_of_another_type(tmp_path: Path, kind: str, value: Any) -> None:
    state, _ = run(tmp_path, *looped(kind, value))
    assert state.status == "failed"
    assert state.error is not None
    assert "Loop variable 'v'" in state.error.message


@pytest.mark.parametrize(("kind", "value", "expected"), READ)
def test_a_loop_reads_its_constants(tmp_path: Path, kind: str, value: Any, expected: Any) -> None:
    state, _ = run(tmp_path, *looped(kind, value))
    assert state.outputs == {"l_v": expected}


@pytest.mark.parametrize(("value", "status"), [("[]", "succeeded"), ('["x"]', "failed")])
def test_a_loop_array_that_starts_empty_takes_any_item(tmp_path: Path, value: str, status: str) -> None:
    append = {"variable_selector": ["l", "v"], "input_type": "variable", "operation": "append", "value": ["t", "n"]}
    nodes, edges = looped("array[string]", value, append)
    edges = [("start", "t"), ("t", "l"), *edges[1:]]
    state, _ = run(tmp_path, [tool("t"), *nodes], edges, t=Pin(outputs={"n": 3}))
    assert state.status == status
    assert status == "failed" or state.outputs == {"l_v": [3]}
