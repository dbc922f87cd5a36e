"""Planning a fork: which nodes of a run are taken over on a graph, and which run anew.

A node is taken over when it ended, is drawn as it was, and nothing before it runs anew. `from_node` names where the
new begins: a node, or `it[3]` for the items of an iteration from the fourth on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from .definition import changed_nodes
from .errors import InvalidInputs
from .fork_entry import default_entry, find_entry, obstacle, results_of
from .graph import Graph
from .outcomes import Outcomes
from .request import Reused


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
    begin = find_entry(source, old, new, from_node) if from_node is not None else default_entry(source, old, new)
    changed = changed_nodes(old, new)
    fresh = {*changed, *anew, *({begin.node} if begin else ())}
    walk = _walk(source, new, fresh, set(altered))
    reuse = {node_id: source.nodes[node_id] for node_id in source.order if walk.get(node_id) == "reused"}
    _check_known(source, reuse)
    partial: dict[str, Reused] = {}
    for node_id in [node_id for node_id, how in walk.items() if how == "entered"]:
        if begin is not None and begin.node == node_id:
            part = None if begin.item is None else _first_items(source.nodes[node_id], begin.item)
        else:
            part = None if node_id in fresh else source.nodes.get(node_id)
            part = part if part is not None and part.items is not None and obstacle(new, node_id) is None else None
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


def _check_known(source: Outcomes, reuse: Collection[str]) -> None:
    """Check that all of what is taken over is known whole."""
    for node_id in reuse:
        if lost := source.lost.get(node_id):
            raise InvalidInputs(
                f"cannot take over node {node_id!r} of run {source.run_id!r}: the server has forgotten the run, and "
                f"the run store does not have all of the node ({', '.join(lost)}: too large to be recorded whole). "
                f"Fork from {node_id!r} or a node before it, or give these values anew.",
                node=node_id,
                field=lost[0],
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


def _first_items(known: Reused, count: int) -> Reused:
    results = {index: value for index, value in results_of(known).items() if index < count}
    # Which attempts failed in which item is not kept: count the items that give nothing.
    failed = sum(1 for index in range(count) if results.get(index) is None)
    return Reused(
        items=count,
        results=results,
        said=tuple(one for one in known.said if one.index < count),
        exceptions=min(failed, known.exceptions),
    )
