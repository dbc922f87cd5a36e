"""Nodes and edges of a DSL document -> node specs and edges of a draft."""

from __future__ import annotations

from typing import Any, cast

from .dsl_draft import Draft, Mapping, kind_of, text_at
from .graph import Edge, NodeSpec

_NOTE_MARKS = ("theme", "author", "showAuthor")
Claims = dict[str, list[tuple[str, str]]]


def read_graph(draft: Draft) -> None:
    """Read the nodes, their nesting and the edges; notes and what touches them are left out."""
    holder: Mapping = draft.section["graph"] if draft.base else draft.section
    nodes, edges = holder.get("nodes"), holder.get("edges")
    if not isinstance(nodes, list):
        draft.stop(f"nodes are {kind_of(nodes)}: a list is needed.", (*draft.base, "nodes"))
    if edges is not None and not isinstance(edges, list):
        draft.stop(f"edges are {kind_of(edges)}: a list is needed.", (*draft.base, "edges"))
    raw_nodes = cast("list[Any]", nodes)
    for index, raw in enumerate(raw_nodes):
        _read_node(draft, index, raw)
    _nest(draft, raw_nodes)
    for index, raw in enumerate(cast("list[Any]", edges or [])):
        _read_edge(draft, index, raw)


def _read_node(draft: Draft, index: int, raw: Any) -> None:
    if not isinstance(raw, dict):
        draft.note("refused", f"a node is {kind_of(raw)}: a mapping is needed.", (*draft.base, "nodes", index))
        return
    node = cast("Mapping", raw)
    node_id: Any = node.get("id")
    data: Any = node.get("data")
    known = cast("Mapping", data) if isinstance(data, dict) else {}
    if _is_note(node, known):
        draft.left_out.add(text_at(node, "id"))
        return
    problem = _problem(draft, node_id, node.get("data"))
    if problem is not None:
        field, message, step = problem
        shown, title = text_at(node, "id"), text_at(known, "title")
        draft.left_out.add(shown)
        draft.note_node("refused", message, index, field, step, node=shown, title=title)
        return
    draft.nodes[cast("str", node_id)] = NodeSpec(id=cast("str", node_id), data=known)
    draft.node_places[cast("str", node_id)] = index


def _problem(draft: Draft, node_id: object, data: object) -> tuple[str, str, str] | None:
    """Say which field keeps a node from being read, why, and the next step."""
    again = "Export the app from Dify again."
    if node_id is None or node_id == "":
        return "id", "the node has no id.", "Give it one."
    if not isinstance(node_id, str):
        return (
            "id",
            f"the id is {kind_of(node_id)}: text is needed.",
            "Put it in quotes, here and in the edges.",
        )
    if node_id in draft.nodes:
        return "id", "two nodes have this id.", "Give one of them another id."
    if not isinstance(data, dict):
        return "data", f"the data of the node is {kind_of(data)}: a mapping is needed.", again
    kind = cast("Mapping", data).get("type")
    if not isinstance(kind, str) or not kind:
        return "data.type", f"the type of the node is {kind_of(kind or None)}: text is needed.", again
    return None


def _is_note(node: Mapping, data: Mapping) -> bool:
    if node.get("type") == "custom-note":
        return True
    return not data.get("type") and "text" in data and any(mark in data for mark in _NOTE_MARKS)


def _read_edge(draft: Draft, index: int, raw: Any) -> None:
    path = (*draft.base, "edges", index)
    edge = cast("Mapping", raw) if isinstance(raw, dict) else {}
    # `handle` is the word of normalised documents, which come this way when something else in them is wrong.
    source, target = edge.get("source"), edge.get("target")
    handle = edge.get("sourceHandle", edge.get("handle", "source"))
    if {text_at(edge, "source"), text_at(edge, "target")} & (draft.left_out - draft.nodes.keys() - {""}):
        return
    if not (isinstance(source, str) and isinstance(target, str) and source and target):
        message = "an edge without a source or a target is left out, as in Dify."
        draft.note("warning", message, path, "Delete it.")
        return
    if not isinstance(handle, str):
        why = f"its handle is {kind_of(handle)}, not text"
        message = f"the edge {source!r} -> {target!r} is left out, as in Dify: {why}."
        draft.note("warning", message, (*path, "sourceHandle"), "Draw it again, or put the handle in quotes.")
        return
    draft.edges.append(Edge(source=source, target=target, handle=handle))
    draft.edge_places.append(index)


def _nest(draft: Draft, raw_nodes: list[Any]) -> None:
    """Set the parent of each node: its `parentId`, else the innermost container that its data names."""
    claims: Claims = {}
    for node_id, spec in draft.nodes.items():
        raw: Mapping = raw_nodes[draft.node_places[node_id]]
        named = [("parentId", raw.get("parentId"))]
        named += [(f"data.{key}", spec.data.get(key)) for key in ("iteration_id", "loop_id")]
        claims[node_id] = [
            (place, container)
            for place, container in named
            if isinstance(container, str) and container not in ("", node_id) and _exists(draft, spec, place, container)
        ]
    for node_id, named in claims.items():
        parent = _innermost(named, claims)
        if parent is not None:
            draft.nodes[node_id] = draft.nodes[node_id].model_copy(update={"parent": parent})
    for node_id, spec in draft.nodes.items():
        if _contains_itself(node_id, draft.nodes):
            draft.note_node(
                "refused",
                "the node lies within itself: containers name each other as parents.",
                draft.node_places[node_id],
                "parentId",
                "Move it out of the container in the editor.",
                node=node_id,
                title=text_at(spec.data, "title"),
            )


def _exists(draft: Draft, spec: NodeSpec, place: str, container: str) -> bool:
    if container in draft.nodes:
        return True
    if container not in draft.left_out:
        draft.note_node(
            "warning",
            f"the container {container!r} does not exist.",
            draft.node_places[spec.id],
            place,
            "Move the node out of it in the editor.",
            node=spec.id,
            title=text_at(spec.data, "title"),
        )
    return False


def _innermost(named: list[tuple[str, str]], claims: Claims) -> str | None:
    if not named:
        return None
    if named[0][0] == "parentId" or len(named) == 1:
        return named[0][1]
    iteration, loop = named[0][1], named[1][1]
    loop_is_inner = _within(loop, iteration, claims) and not _within(iteration, loop, claims)
    return loop if loop_is_inner else iteration


def _within(inner: str, outer: str, claims: Claims) -> bool:
    seen, stack = {inner}, [inner]
    while stack:
        for _, container in claims[stack.pop()]:
            if container == outer:
                return True
            if container not in seen:
                seen.add(container)
                stack.append(container)
    return False


def _contains_itself(node_id: str, nodes: dict[str, NodeSpec]) -> bool:
    seen: set[str] = set()
    at = nodes[node_id].parent
    while at is not None and at not in seen:
        if at == node_id:
            return True
        seen.add(at)
        at = nodes[at].parent
    return False
