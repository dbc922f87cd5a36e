"""Planning a fork: which nodes of a run are taken over on a graph, and which run anew.

A node is taken over when it ended, is drawn as it was, and nothing before it runs anew. `from_node` names where the
new begins: a node, or `it[3]` for the items of an iteration from the fourth on.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from .errors import InvalidInputs
from .graph import Graph, Node
from .nodes.iteration import IterationData
from .request import Reused
from .reuse import Outcomes, inside, prefix

# What changes how a node looks, not what it puts out.
_LOOKS = frozenset({"title", "desc", "selected", "perdure"})
_ITEM = re.compile(r"(?P<container>.+?)\[(?P<index>\d+)\](?:\.(?P<inner>.+))?")


@dataclass(frozen=True, slots=True)
class Split:
    """What a fork takes over, by node id in the order they ended, and which nodes run anew or stay skipped.

    Nodes that run anew may in the end be skipped; those skipped stay so for certain. `changed`: drawn otherwise than
    in the source, or new.
    """

    reuse: dict[str, Reused]
    anew: tuple[str, ...]
    skipped: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Begin:
    """Where the new begins; `item` of an iteration, None for the whole node."""

    node: str
    item: int | None = None


def plan(source: Outcomes, old: Graph, new: Graph, from_node: str | None = None) -> dict[str, Reused]:
    """Choose what a fork takes over; without `from_node` the node that failed and those that changed run anew.

    Raises:
        InvalidInputs: the run cannot be entered there; names what is possible.
    """
    return split(source, old, new, from_node).reuse


def split(
    source: Outcomes,
    old: Graph,
    new: Graph,
    from_node: str | None = None,
    *,
    anew: Collection[str] = (),
    altered: Collection[str] = (),
) -> Split:
    """Divide the nodes of a graph.

    anew: more nodes that run anew. altered: nodes that are taken over with other outputs, so that what follows them
        runs anew.

    Raises:
        InvalidInputs: the run cannot be entered there; names what is possible.
    """
    begin = _locate(source, old, new, from_node) if from_node is not None else _default(source, old, new)
    changed = _changed(old, new)
    fresh = {*changed, *anew, *({begin.node} if begin else ())}
    walk = _walk(source, new, fresh, set(altered))
    reuse = {node_id: source.nodes[node_id] for node_id in source.order if walk.get(node_id) == "reused"}
    partial: dict[str, Reused] = {}
    for node_id in [node_id for node_id, how in walk.items() if how == "entered"]:
        if begin is not None and begin.node == node_id:
            part = None if begin.item is None else _first_items(source.nodes[node_id], begin.item)
        else:
            part = None if node_id in fresh else source.nodes.get(node_id)
            part = part if part is not None and part.items is not None and _can_enter(new, node_id) is None else None
        if part is not None:
            partial[node_id] = part
    if begin is not None and begin.item and from_node is not None and begin.node not in partial:
        before = ", ".join(repr(node_id) for node_id in changed if node_id != begin.node)
        text = (
            f"cannot fork from {from_node!r}: nodes before {begin.node!r} run anew ({before}), so its items may differ."
        )
        raise InvalidInputs(f"{text} Fork from {begin.node!r}.", node=begin.node, field="from_node")
    reachable = new.reachable(new.root)
    top = [node_id for node_id in new.nodes if node_id in reachable]
    return Split(
        reuse={**reuse, **partial},
        anew=tuple(node_id for node_id in top if walk.get(node_id) not in ("reused", "skipped")),
        skipped=tuple(node_id for node_id in top if walk.get(node_id) == "skipped"),
        changed=tuple(changed),
    )


def _walk(source: Outcomes, new: Graph, fresh: Collection[str], altered: Collection[str]) -> dict[str, str]:
    """Follow the edges as the fork will: each node is `reused`, `skipped`, `entered` (it runs anew, and all before it
    is taken over) or `anew`; nodes that are not in the answer come after those.
    """
    how: dict[str, str] = {}
    decided: dict[str, list[str]] = {}
    queue = deque([(new.root, "taken")])
    while queue:
        node_id, came = queue.popleft()
        known = source.nodes.get(node_id)
        if came == "anew":
            state = "anew"
        elif came == "skipped":
            state = "skipped"
        elif known is None or known.items is not None or node_id in fresh:
            state = "entered"
        else:
            state = "reused"
        how[node_id] = state
        for edge in new.out[node_id]:
            if state == "skipped":
                way = "skipped"
            elif state != "reused" or node_id in altered or known is None:
                way = "anew"
            else:
                way = "taken" if known.handle is None or known.handle == edge.handle else "skipped"
            ways = decided.setdefault(edge.target, [])
            ways.append(way)
            if len(ways) == new.in_degree[edge.target]:
                queue.append((edge.target, next((w for w in ("anew", "taken") if w in ways), "skipped")))
    return how


def _default(source: Outcomes, old: Graph, new: Graph) -> _Begin | None:
    """Begin at the node that failed; an iteration goes on with the first item that has not ended."""
    node_id = source.failed
    if node_id is None or node_id not in new.nodes:
        return None
    known = source.nodes.get(node_id)
    same = definition(old, node_id) == definition(new, node_id)
    if known is None or known.items is None or not same or _can_enter(new, node_id) is not None:
        return _Begin(node_id)
    return _Begin(node_id, known.items)


def _locate(source: Outcomes, old: Graph, new: Graph, name: str) -> _Begin:
    node = old.nodes.get(name) or new.nodes.get(name)
    item: int | None = None
    if node is None:
        found = _ITEM.fullmatch(name)
        node = old.nodes.get(found["container"]) if found else None
        if found is None or node is None:
            raise _refused(source, old, name, "there is no such node" + _near(name, old))
        if node.type.role != "container":
            raise _refused(source, old, name, f"{node.id!r} is no iteration, so it has no items")
        inner = (found["inner"] or "").rpartition(".")[2]
        if inner and inner not in old.nodes:
            raise _refused(source, old, name, f"there is no node {inner!r}{_near(inner, old)}")
        item = int(found["index"]) if node.parent is None else None
    top = _top(old if node.id in old.nodes else new, node)
    if top.type.name == "loop" and (top is not node or "[" in name.removeprefix(node.id)):
        why = "a loop cannot be entered in the middle, because each round needs what the one before left"
        raise _refused(source, old, name, f"{why}; fork from the loop itself, {top.id!r}")
    if top.id not in new.nodes:
        raise _refused(source, old, name, f"{top.id!r} is not in the new graph")
    if top.id in old.nodes:
        _reached(source, old, top.id, name)
    if top is node and item is None:
        return _Begin(top.id)
    return _Begin(top.id, _item_of(source, old, new, top, item, name))


def _reached(source: Outcomes, old: Graph, node_id: str, name: str) -> None:
    if node_id in source.skipped:
        raise _refused(source, old, name, f"{node_id!r} was skipped, so nothing led into it")
    if node_id not in source.order and node_id not in source.unfinished:
        raise _refused(source, old, name, f"the run never reached {node_id!r}")


def _item_of(source: Outcomes, old: Graph, new: Graph, top: Node, item: int | None, name: str) -> int | None:
    """Give the item to begin with; a node inside that is named without one means the first item not yet done."""
    known = source.nodes.get(top.id)
    done = 0 if known is None else _done(top, known)
    obstacle = _can_enter(new, top.id)
    if item is None:
        return done if known is not None and known.items is not None and obstacle is None else None
    if not item:
        return None
    if obstacle is not None:
        raise _refused(source, old, name, f"items of {top.id!r} cannot be told apart: {obstacle}; fork from {top.id!r}")
    if item > done:
        why = f"only {done} items of {top.id!r} are done without a gap, so the new can begin with item {done} at most"
        raise _refused(source, old, name, why)
    return item


def _can_enter(graph: Graph, node_id: str) -> str | None:
    """Say why an iteration cannot be taken over in part; None when it can."""
    for member in inside(graph, node_id):
        if graph.nodes[member].type.writes is not None:
            return f"node {member!r} in it writes variables of the run"
    return None


def _done(node: Node, known: Reused) -> int:
    """Count the items of an iteration that are done, from the first without a gap."""
    if known.items is not None:
        return known.items
    results = _results(known)
    data = cast("IterationData", node.data)
    if known.status == "succeeded" and data.error_handle_mode == "remove-abnormal-output":
        return max(results, default=-1) + 1
    return prefix(results, set())


def _results(known: Reused) -> dict[int, Any]:
    if known.results is not None:
        return dict(known.results)
    listed = known.outputs.get("output")
    return dict(enumerate(listed)) if isinstance(listed, list) else {}


def _first_items(known: Reused, count: int) -> Reused:
    results = {index: value for index, value in _results(known).items() if index < count}
    # Which attempts failed in which item is not kept: count the items that give nothing.
    failed = sum(1 for index in range(count) if results.get(index) is None)
    return Reused(
        items=count,
        results=results,
        said=tuple(one for one in known.said if one.index < count),
        exceptions=min(failed, known.exceptions),
    )


def _changed(old: Graph, new: Graph) -> list[str]:
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


def _top(graph: Graph, node: Node) -> Node:
    while node.parent is not None and node.parent in graph.nodes:
        node = graph.nodes[node.parent]
    return node


def _near(name: str, graph: Graph) -> str:
    near = get_close_matches(name, graph.nodes, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _refused(source: Outcomes, graph: Graph, name: str, why: str) -> InvalidInputs:
    shown = ", ".join(_shown(graph, node_id) for node_id in (*source.order, *source.unfinished))
    return InvalidInputs(
        f"cannot fork run {source.run_id!r} from {name!r}: {why}. Possible are: {shown or 'no nodes yet'}.",
        node=name,
        field="from_node",
    )


def _shown(graph: Graph, node_id: str) -> str:
    has_items = graph.nodes[node_id].type.name == "iteration" and _can_enter(graph, node_id) is None
    return f"{node_id}[n]" if has_items else node_id
