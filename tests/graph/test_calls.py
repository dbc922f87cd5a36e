"""What the shell is told about an effect: a key that is unique in the run, a title for people."""

from __future__ import annotations

from fakes.driver import Driver
from fakes.graphs import code, iteration
from perdure_graph.graph import Graph
from perdure_graph.request import RunRequest


def test_effects_of_items_carry_the_item_in_key_and_title() -> None:
    inner = code("k", "def main(x):\n    return {'r': x}", {"r": "number"}, "it", x=["it", "item"])
    inner = inner.model_copy(update={"data": {**inner.data, "title": "Price"}})
    flow = iteration(["start", "items", "l"], [inner], [("its", "k")], ["k", "r"])
    run = Driver(Graph.from_document(flow), RunRequest(graph=flow, inputs={"items": {"l": [5, 6]}}))
    run.run()
    assert [(call.key, call.title) for call in run.calls] == [("it[0].k", "Price [0]"), ("it[1].k", "Price [1]")]
