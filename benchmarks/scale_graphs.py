"""The graphs that are run at scale."""

from __future__ import annotations

from typing import Any, Literal

from graphs import bench, chain

from perdure_graph.graph import Document, Edge, Graph, NodeSpec

NODES = 10

_CALLS: dict[str, dict[str, Any]] = {
    "bench": {"kind": "bench-noop", "text": "{{#each.item#}}"},
    "code": {
        "kind": "code",
        "code": "def main(item: str) -> dict:\n    return {'text': item}\n",
        "code_language": "python3",
        "outputs": {"text": {"type": "string", "children": None}},
        "variables": [{"variable": "item", "value_selector": ["each", "item"]}],
    },
}


def flow(wait_s: float = 0.0) -> Graph:
    """A flow of `NODES` bench nodes in a row, each of which takes `wait_s` seconds."""

    def waits(node_id: str, source: str) -> NodeSpec:
        spec = bench(node_id, source)
        return spec.model_copy(update={"data": {**spec.data, "wait_s": wait_s}})

    return chain(NODES, waits if wait_s else bench)


def iteration(parallel: int, kind: Literal["bench", "code"] = "bench") -> Graph:
    """start -> an iteration over `start.items["list"]` with one activity per item -> end: `texts`, in order."""
    items = {"variable": "items", "label": "items", "type": "json_object", "required": True}
    each = _node(
        "each",
        "iteration",
        start_node_id="first",
        iterator_selector=["start", "items", "list"],
        output_selector=["call", "text"],
        is_parallel=parallel > 1,
        parallel_nums=parallel,
    )
    nodes = (
        _node("start", "start", variables=[items]),
        each,
        _inside("first", "iteration-start"),
        _inside("call", **_CALLS[kind]),
        _node("end", "end", outputs=[{"variable": "texts", "value_selector": ["each", "output"]}]),
    )
    edges = (
        Edge(source="start", target="each"),
        Edge(source="first", target="call"),
        Edge(source="each", target="end"),
    )
    return Graph.from_document(Document(name="iteration", nodes=nodes, edges=edges))


def _inside(node_id: str, kind: str, **data: Any) -> NodeSpec:
    spec = _node(node_id, kind, isInIteration=True, iteration_id="each", **data)
    return spec.model_copy(update={"parent": "each"})


def _node(node_id: str, kind: str, **data: Any) -> NodeSpec:
    return NodeSpec(id=node_id, data={"type": kind, "title": node_id, **data})
