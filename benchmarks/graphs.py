"""The graphs that are measured: chains and fan-outs of bench nodes and of template nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from perdure_graph.graph import Document, Edge, Graph, NodeSpec

TEXT = "text"

MakeNode = Callable[[str, str], NodeSpec]


def bench(node_id: str, source: str) -> NodeSpec:
    """A bench node that sends what `source` put out."""
    reference = TEXT if source == "start" else f"{{{{#{source}.text#}}}}"
    return _node(node_id, "bench-noop", text=reference)


def template(node_id: str, source: str) -> NodeSpec:
    """A template node that renders what `source` put out."""
    selector = ["sys", "user_id"] if source == "start" else [source, "output"]
    variables = [{"variable": "text", "value_selector": selector}]
    return _node(node_id, "template-transform", template="{{ text }}", variables=variables)


def jinja(node_id: str, source: str) -> NodeSpec:
    """A template node that needs the template engine, and so an activity."""
    spec = template(node_id, source)
    return spec.model_copy(update={"data": {**spec.data, "template": "{{ text | lower }}"}})


def model(node_id: str, source: str) -> NodeSpec:
    """A node that asks a model."""
    reference = "{{#sys.user_id#}}" if source == "start" else f"{{{{#{source}.text#}}}}"
    asked: dict[str, Any] = {"provider": "openai", "name": "gpt-5.4-mini", "mode": "chat", "completion_params": {}}
    return _node(node_id, "llm", model=asked, prompt_template=[{"role": "user", "text": f"say {reference}"}])


def chain(length: int, make: MakeNode, output: str = "text") -> Graph:
    """start -> n0 -> n1 -> ... -> end; each node takes the output of the one before it."""
    names = ["start", *_names(length)]
    edges = [Edge(source=source, target=target) for source, target in pairwise([*names, "end"])]
    nodes = [make(name, source) for source, name in pairwise(names)]
    return _graph(f"chain of {length}", nodes, edges, [names[-1], output])


def fan_out(width: int, make: MakeNode, output: str = "text") -> Graph:
    """start -> n0, n1, ... side by side -> end."""
    names = list(_names(width))
    edges = [edge for name in names for edge in (Edge(source="start", target=name), Edge(source=name, target="end"))]
    return _graph(f"fan-out of {width}", [make(name, "start") for name in names], edges, [names[-1], output])


def _names(count: int) -> Iterator[str]:
    return (f"n{index}" for index in range(count))


def _graph(name: str, nodes: list[NodeSpec], edges: list[Edge], output: list[str]) -> Graph:
    start = _node("start", "start", variables=[])
    end = _node("end", "end", outputs=[{"variable": "text", "value_selector": output}])
    return Graph.from_document(Document(name=name, nodes=(start, *nodes, end), edges=tuple(edges)))


def _node(node_id: str, kind: str, **data: Any) -> NodeSpec:
    return NodeSpec(id=node_id, data={"type": kind, "title": node_id, **data})
