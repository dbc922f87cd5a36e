"""Small builders of graph documents, and hypothesis strategies for random ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from perdure_graph.graph import Document, Edge, NodeSpec


def node(node_id: str, kind: str, parent: str | None = None, **data: Any) -> NodeSpec:
    """A node; a parent iteration or loop is entered in the data as editors do."""
    return NodeSpec(id=node_id, data={"type": kind, "title": node_id, **data}, parent=parent)


def template(node_id: str, text: str, parent: str | None = None, /, **variables: list[str]) -> NodeSpec:
    """A template node; keyword arguments name its variables and their selectors."""
    listed = [{"variable": name, "value_selector": selector} for name, selector in variables.items()]
    return node(node_id, "template-transform", parent, template=text, variables=listed)


def code(
    node_id: str, source: str, outputs: dict[str, str], parent: str | None = None, /, **variables: list[str]
) -> NodeSpec:
    """A python3 code node."""
    return node(
        node_id,
        "code",
        parent,
        code=source,
        code_language="python3",
        outputs={name: {"type": kind, "children": None} for name, kind in outputs.items()},
        variables=[{"variable": name, "value_selector": selector} for name, selector in variables.items()],
    )


def start(**variables: str) -> NodeSpec:
    """A start node with optional variables of the given form types."""
    listed = [{"variable": name, "label": name, "type": kind, "required": False} for name, kind in variables.items()]
    return node("start", "start", variables=listed)


def end(node_id: str = "end", /, **outputs: list[str]) -> NodeSpec:
    """An end node."""
    listed = [{"variable": name, "value_selector": selector} for name, selector in outputs.items()]
    return node(node_id, "end", outputs=listed)


def document(nodes: list[NodeSpec], edges: list[tuple[str, ...]], **more: Any) -> Document:
    """A document; edges are (source, target) or (source, handle, target)."""
    return Document(
        nodes=tuple(nodes),
        edges=tuple(
            Edge(source=e[0], target=e[-1], handle=e[1]) if len(e) == 3 else Edge(source=e[0], target=e[1])
            for e in edges
        ),
        **more,
    )


def iteration(
    items: list[str], inner: list[NodeSpec], edges: list[tuple[str, ...]], output: list[str], **data: Any
) -> Document:
    """start -> it(inner) -> end, over the selector `items`; the first inner edge starts at `its`."""
    return document(
        [
            start(items="json_object", n="number"),
            node("it", "iteration", start_node_id="its", iterator_selector=items, output_selector=output, **data),
            node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
            *inner,
            end(out=["it", "output"]),
        ],
        [("start", "it"), ("it", "end"), *edges],
    )


@st.composite
def dags(draw: st.DrawFn, most: int = 12) -> Document:
    """Random DAGs: templates and if-else branches, joins wherever edges meet, some pinned failures with strategies."""
    count = draw(st.integers(2, most))
    nodes: list[NodeSpec] = [start(n="number")]
    edges: list[tuple[str, ...]] = []
    handles: dict[str, list[str]] = {"start": ["source"]}
    for index in range(count):
        node_id = f"n{index}"
        sources = draw(st.lists(st.sampled_from(sorted(handles)), min_size=1, max_size=3, unique=True))
        kind = draw(st.sampled_from(["template", "if", "tool", "default"]))
        if kind == "if":
            limit = str(draw(st.integers(0, 9)))
            condition = {"variable_selector": ["start", "n"], "comparison_operator": ">", "value": limit}
            case = {"case_id": "yes", "logical_operator": "and", "conditions": [condition]}
            nodes.append(node(node_id, "if-else", cases=[case]))
            handles[node_id] = ["yes", "false"]
        elif kind == "template":
            nodes.append(template(node_id, "t{{ x }}", x=["start", "n"]))
            handles[node_id] = ["source"]
        else:
            strategy = "fail-branch" if kind == "tool" else "default-value"
            tool = {"provider_id": "p", "provider_type": "builtin", "provider_name": "p", "tool_name": "t"}
            tool |= {"tool_label": "t", "tool_configurations": {}, "tool_parameters": {}, "error_strategy": strategy}
            if kind == "default":
                tool["default_value"] = [{"key": "text", "type": "string", "value": "d"}]
            nodes.append(node(node_id, "tool", **tool))
            handles[node_id] = ["source", "fail-branch"] if kind == "tool" else ["source"]
        for source in sources:
            chosen = draw(st.lists(st.sampled_from(handles[source]), min_size=1, max_size=2, unique=True))
            edges += [(source, handle, node_id) for handle in chosen]
    return document(nodes, edges)
