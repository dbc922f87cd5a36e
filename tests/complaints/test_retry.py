"""Complaint 15: after a failure there was only the whole flow again, or the failed node with the old graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from complaints.flows import Target, call, chain, cli, events_of

from fakes.graphs import code, iteration
from perdure import Client, Graph, InvalidInputs, RunHandle
from perdure_worker.embedded import EmbeddedStack

STEPS = ("a", "b", "c", "d")


def row(target: Target, third: str) -> Graph:
    """start -> a -> b -> check -> c -> d -> end: all but the check are calls that are counted."""
    calls = {name: call(name, target.url(f"/hit?of={name}&say={name}")) for name in STEPS}
    check = code("check", third, {"r": "string"}, b=["b", "body"])
    return chain(calls["a"], calls["b"], check, calls["c"], calls["d"], r=["check", "r"], last=["d", "body"])


FAILS = "def main(b):\n    raise ValueError('not ' + b)"
MENDED = "def main(b):\n    return {'r': 'mended ' + b}"


async def failed(perdure: Client, graph: Graph) -> RunHandle:
    handle = await perdure.start(graph, {"x": 1})
    result = await handle.result()
    assert (result.status, result.error and result.error.node) == ("failed", "check")
    return handle


async def reused(handle: RunHandle) -> list[str]:
    return [event.node_id for event in await events_of(handle) if event.type == "node_finished" and event.reused]


async def test_complaint_15_a_failed_run_goes_on_at_the_failed_node_with_a_newer_graph(
    perdure: Client, target: Target
) -> None:
    """A run of an hour failed in its last node, and had to begin at the first again."""
    handle = await failed(perdure, row(target, FAILS))
    again = await handle.fork(graph=row(target, MENDED))
    assert await again.outputs() == {"r": "mended b", "last": "d"}
    assert target.hits() == {"a": 1, "b": 1, "c": 1, "d": 1}
    assert await reused(again) == ["start", "a", "b"]
    assert (await handle.result()).status == "failed", "the failed run is left as it is"


async def test_complaint_15_the_same_graph_is_tried_again_from_the_failed_node(perdure: Client, target: Target) -> None:
    """What failed outside is mended there: no new graph is needed, and nothing upstream runs again."""
    url = target.url("/hit?of=a")
    outside = "{{#start.s#}}"
    flow = chain(call("a", url), call("b", outside), body=["b", "body"])
    handle = await perdure.start(flow, {"s": "http://127.0.0.1:1/nobody"})
    assert (await handle.result()).status == "failed"
    again = await handle.fork("b", inputs={"s": target.url("/hit?of=b&say=there")})
    assert await again.outputs() == {"body": "there"}
    assert target.hits() == {"a": 1, "b": 1}


@pytest.mark.parametrize("from_node", ["a", "b", "check", "c", "d", "end"])
async def test_complaint_15_a_run_goes_on_from_any_node(perdure: Client, target: Target, from_node: str) -> None:
    """Also one that ended well: what comes before the node costs nothing, what follows runs once more."""
    order = ["start", "a", "b", "check", "c", "d", "end"]
    handle = await perdure.start(row(target, MENDED), {"x": 1})
    outputs = await handle.outputs()
    target.requests.clear()
    again = await handle.fork(from_node)
    assert await again.outputs() == outputs
    at = order.index(from_node)
    assert await reused(again) == order[:at]
    assert target.hits() == {name: 1 for name in order[at:] if name in STEPS}


async def test_complaint_15_an_iteration_goes_on_at_the_item_that_failed(perdure: Client, target: Target) -> None:
    """Item 5 of 8 failed: items 0 to 4 are done and stay so."""

    def items(limit: int) -> Graph:
        body = f"def main(i):\n    if i == {limit}:\n        raise ValueError(i)\n    return {{'r': i}}"
        inner: list[Any] = [
            call("each", target.url("/hit?of=item{{#it.index#}}"), "it"),
            code("check", body, {"r": "number"}, "it", i=["it", "index"]),
        ]
        return Graph.from_document(
            iteration(["start", "items", "l"], inner, [("its", "each"), ("each", "check")], ["check", "r"])
        )

    handle = await perdure.start(items(5), {"items": {"l": list(range(8))}})
    assert (await handle.result()).status == "failed"
    again = await handle.fork("it[5]", graph=items(99))
    assert await again.outputs() == {"out": list(range(8))}
    assert target.hits() == {f"item{number}": 2 if number == 5 else 1 for number in range(8)}


async def test_complaint_15_where_a_run_cannot_be_entered_is_said_with_what_is_possible(
    perdure: Client, target: Target
) -> None:
    """A node that was never reached, or does not exist."""
    handle = await failed(perdure, row(target, FAILS))
    for name in ("d", "nowhere"):
        with pytest.raises(InvalidInputs, match=f"'{name}'.*Possible are: start, a, b, check"):
            await handle.fork(name)
    assert target.hits() == {"a": 1, "b": 1}


async def test_complaint_15_the_command_line_does_the_same(
    perdure: Client, place: EmbeddedStack, target: Target, tmp_path: Path
) -> None:
    """`perdure fork RUN --flow mended.yml`: what is taken over and what runs anew, then the id of the new run."""
    handle = await failed(perdure, row(target, FAILS))
    mended = row(target, MENDED).document
    nodes = [{"id": spec.id, "data": spec.data} for spec in mended.nodes]
    edges = [
        {"id": str(n), "source": edge.source, "sourceHandle": edge.handle, "target": edge.target}
        for n, edge in enumerate(mended.edges)
    ]
    app = {"name": "mended", "mode": "workflow"}
    flow = {"kind": "app", "version": "0.6.0", "app": app, "workflow": {"graph": {"nodes": nodes, "edges": edges}}}
    path = tmp_path / "mended.yml"
    path.write_text(json.dumps(flow))
    shown = json.loads((await cli(place, "fork", handle.run_id, "--flow", str(path), "--json")).splitlines()[-1])
    assert (shown["forked_from"], shown["reused"]) == (handle.run_id, ["start", "a", "b"])
    assert await perdure.run(shown["run_id"]).outputs() == {"r": "mended b", "last": "d"}
    assert target.hits() == {"a": 1, "b": 1, "c": 1, "d": 1}
