"""What decides the outputs of a node, so that two drawings of it can be compared."""

from __future__ import annotations

import json

from .graph import Graph
from .outcomes import inside

# What changes how a node looks, not what it puts out.
_LOOKS = frozenset({"title", "desc", "selected", "perdure"})


def changed_nodes(old: Graph, new: Graph) -> list[str]:
    """List the nodes of the top frame that are new or drawn otherwise, in document order."""
    if old.document == new.document:
        return []
    return [
        node.id
        for node in new.nodes.values()
        if node.parent is None and (node.id not in old.nodes or definition(old, node.id) != definition(new, node.id))
    ]


def definition(graph: Graph, node_id: str) -> str:
    """Write down what decides the outputs of a node: its data, what is inside it, variables of the graph it names."""
    members = [node_id, *inside(graph, node_id)]
    specs = {spec.id: spec for spec in graph.document.nodes}
    data = [
        {"id": member, "data": {name: value for name, value in specs[member].data.items() if name not in _LOOKS}}
        for member in sorted(members)
    ]
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    edges = sorted(
        (edge.source, edge.handle, edge.target)
        for edge in graph.document.edges
        if edge.target in members and edge.target != node_id
    )
    declared = [
        (scope, variable.model_dump(mode="json"))
        for scope, variables in (("env", graph.document.environment), ("conversation", graph.document.conversation))
        for variable in variables
        if f"{scope}.{variable.name}" in text or json.dumps([scope, variable.name])[:-1] in text
    ]
    return json.dumps([text, edges, declared], sort_keys=True, ensure_ascii=False)
