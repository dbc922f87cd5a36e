"""Complaint 24: numbers that arrive as text, and lists that are refused though they are what was declared."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from complaints.flows import ask, graph, until

from fakes.graphs import code, document, end, node, start
from perdure import Client, Graph, InvalidGraph, InvalidInputs, RunOptions
from perdure_worker.embedded import EmbeddedStack

KINDS = "def main(x):\n    return {'l': x, 'kinds': [type(v).__name__ for v in x]}"
ONE = "def main(x):\n    return {'v': x, 'kind': type(x).__name__}"

LISTS: dict[str, list[Any]] = {
    "number": [0, -1, 7, 2.5, 3.0, 2**53 + 1],
    "string": ["", "7", "true", "null", "[1]", "ö"],
    "boolean": [True, False, True],
    "object": [{"n": 1, "f": 1.0, "t": "1", "b": True, "l": [1, 2]}, {}],
}


def hops(kind: str) -> Graph:
    """A list on its way through every kind of node that hands values on, with a wait in between."""
    listed, inside = f"array[{kind}]", {"isInIteration": True, "iteration_id": "it"}
    looks = {"l": listed, "kinds": "array[string]"}
    names = ["first", "given", "agg", "ask", "it", "after", "lo", "looped", "end"]
    edges: list[tuple[str, ...]] = [("start", "first")]
    edges += [(a, "go", b) if a == "ask" else (a, b) for a, b in itertools.pairwise(names)]
    variable = {"label": "acc", "var_type": listed, "value_type": "variable", "value": ["it", "output"]}
    copy = {"variable_selector": ["lo", "acc"], "input_type": "variable", "operation": "over-write"}
    return Graph.from_document(
        document(
            [
                start(o="json_object"),
                code("first", "def main(o):\n    return {'l': o['l']}", {"l": listed}, o=["start", "o"]),
                code("given", KINDS, looks, x=["first", "l"]),
                node("agg", "variable-aggregator", output_type=listed, variables=[["no", "thing"], ["given", "l"]]),
                ask("ask"),
                node(
                    "it",
                    "iteration",
                    start_node_id="its",
                    iterator_selector=["agg", "output"],
                    output_selector=["item", "v"],
                    is_parallel=True,
                    parallel_nums=3,
                ),
                node("its", "iteration-start", "it", **inside),
                code("item", ONE, {"v": kind, "kind": "string"}, "it", x=["it", "item"]),
                code("after", KINDS, looks, x=["it", "output"]),
                node(
                    "lo",
                    "loop",
                    start_node_id="los",
                    loop_count=2,
                    loop_variables=[variable],
                    break_conditions=[],
                    logical_operator="and",
                ),
                node("los", "loop-start", "lo", isInLoop=True, loop_id="lo"),
                code("round", KINDS, looks, "lo", x=["lo", "acc"]),
                node("keep", "assigner", "lo", version="2", items=[copy | {"value": ["round", "l"]}]),
                code("looped", KINDS, looks, x=["lo", "acc"]),
                end(
                    **{name: [name, "l"] for name in ("first", "given", "after", "looped")},
                    it=["it", "output"],
                    **{f"{name}_kinds": [name, "kinds"] for name in ("given", "after", "looped")},
                ),
            ],
            [*edges, ("its", "item"), ("los", "round"), ("round", "keep")],
        )
    )


@pytest.mark.parametrize("kind", LISTS)
async def test_complaint_24_the_items_of_a_list_keep_their_type_at_every_hop(
    perdure: Client, place: EmbeddedStack, kind: str
) -> None:
    """Numbers of an array[number] arrived as strings in the iteration, and correct lists were refused."""
    values = LISTS[kind]
    options = RunOptions(window_items=2, continue_after_events=20)
    handle = await perdure.start(hops(kind), {"o": {"l": values}}, options=options)
    await until(handle, lambda view: bool(view.forms))
    await handle.submit("ask", "go")
    outputs = await handle.outputs()
    exactly = json.dumps(values)  # tells 1 from 1.0, "1" and true
    for hop in ("first", "given", "it", "after", "looped"):
        assert json.dumps(outputs[hop]) == exactly, hop
    for hop in ("given", "after", "looped"):
        assert outputs[f"{hop}_kinds"] == [type(value).__name__ for value in values], hop
    variables = await handle.variables()
    assert json.dumps(variables["lo"]["acc"]) == exactly
    finished = {event.node_id: event async for event in handle.events() if event.type == "node_finished"}
    assert json.dumps(finished["looped"].outputs["l"]) == exactly
    raw: Any = await place.client.get_workflow_handle(handle.run_id).result()
    assert json.dumps(raw["outputs"]["it"]) == exactly, "any Temporal client reads the same"


def wrong_default() -> Any:
    plain = code("c", "def main():\n    return {'r': [1]}", {"r": "array[number]"})
    default = [{"key": "r", "type": "array[number]", "value": '["a"]'}]
    return plain.model_copy(
        update={"data": {**plain.data, "error_strategy": "default-value", "default_value": default}}
    )


def loop_of(**data: Any) -> list[Any]:
    return [node("c", "loop", start_node_id="cs", **{"loop_count": 2} | data), node("cs", "loop-start", "c")]


@pytest.mark.parametrize(
    ("nodes", "field"),
    [
        ([code("c", "", {"r": "array[numbers]"})], "data.outputs.r.type"),
        ([wrong_default()], "data.default_value.0"),
        (loop_of(loop_variables=[{"label": "v", "var_type": "int", "value": 1}]), "data.loop_variables.0.var_type"),
        (loop_of(loop_count="many"), "data.loop_count"),
        ([node("c", "human-input", timeout="soon")], "data.timeout"),
        ([node("c", "list-operator", variable="first")], "data.variable"),
    ],
)
def test_complaint_24_a_wrong_type_is_refused_when_the_flow_is_loaded(nodes: list[Any], field: str) -> None:
    """The refusal names the node and the field, before anything runs."""
    with pytest.raises(InvalidGraph) as caught:
        graph([*nodes, end()], [("start", "c"), ("c", "end")])
    [finding] = caught.value.findings
    assert (finding.node, finding.field) == ("c", field)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("number", "seven"), ("number", True), ("number", [7]), ("json_object", "{}"), ("text-input", 7)],
)
async def test_complaint_24_a_wrong_input_is_refused_before_the_run_starts(
    perdure: Client, kind: str, value: Any
) -> None:
    """By name of the field, with what was given and what is expected."""
    flow = Graph.from_document(document([start(v=kind), end(v=["start", "v"])], [("start", "end")]))
    with pytest.raises(InvalidInputs, match=f"input 'v': .* got {type(value).__name__}") as caught:
        await perdure.start(flow, {"v": value})
    assert (caught.value.node, caught.value.field) == ("start", "v")


async def test_complaint_24_a_value_that_is_not_what_was_declared_fails_the_node_that_made_it(perdure: Client) -> None:
    """Not the node behind it, and not in silence: the first hop that breaks the promise is named, with the field."""
    flow = graph(
        [
            code("c", "def main():\n    return {'r': [1, '2']}", {"r": "array[number]"}),
            code("next", KINDS, {"l": "array[number]", "kinds": "array[string]"}, x=["c", "r"]),
            end(r=["next", "l"]),
        ],
        [("start", "c"), ("c", "next"), ("next", "end")],
    )
    result = await (await perdure.start(flow, {})).result()
    assert result.error is not None
    assert (result.status, result.error.node) == ("failed", "c")
    assert "index 1 of output variable `r` must be a number" in result.error.message
