"""Where a fork enters a run: `from_node` as the caller names it, or the node that failed."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from .definition import definition
from .errors import InvalidInputs
from .graph import Graph, Node
from .nodes.iteration import IterationData
from .outcomes import Outcomes, inside, prefix, top_of
from .request import Reused

_LISTED = 30
_ITEM = re.compile(r"(?P<container>.+?)\[(?P<index>\d+)\](?:\.(?P<inner>.+))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """Where the new begins; `item` of an iteration, None for the whole node."""

    node: str
    item: int | None = None


def default_entry(source: Outcomes, old: Graph, new: Graph) -> Entry | None:
    """Begin at the node that failed; an iteration goes on with the first item that has not ended."""
    node_id = source.failed
    if node_id is None or node_id not in new.nodes:
        return None
    known = source.nodes.get(node_id)
    same = definition(old, node_id) == definition(new, node_id)
    if known is None or known.items is None or not same or obstacle(new, node_id) is not None:
        return Entry(node_id)
    return Entry(node_id, known.items)


def find_entry(source: Outcomes, old: Graph, new: Graph, name: str) -> Entry:
    """Find where a caller wants the new to begin: `k`, `it`, `it[3]` or `it[3].k`.

    Raises:
        InvalidInputs: the run cannot be entered there; says why, and what is possible.
    """
    search = _Search(source, old, new, name)
    node = old.nodes.get(name) or new.nodes.get(name)
    if node is None:
        return search.item()
    top = top_of(old if node.id in old.nodes else new, node)
    search.check(top)
    if top is not node:
        raise search.refused(search.why_inside(node, top))
    return Entry(top.id)


@dataclass(frozen=True, slots=True)
class _Search:
    source: Outcomes
    old: Graph
    new: Graph
    name: str

    def item(self) -> Entry:
        """Read a name with an item in it."""
        found = _ITEM.fullmatch(self.name)
        node = self.old.nodes.get(found["container"]) if found else None
        if found is None or node is None:
            raise self.refused("there is no such node" + _near(self.name, self.old))
        if node.type.role != "container":
            raise self.refused(f"{node.id!r} is no iteration, so it has no items")
        top = top_of(self.old, node)
        self.check(top)
        if top.type.name == "loop" or top is not node:
            raise self.refused(self.why_inside(node, top))
        inner = (found["inner"] or "").rpartition(".")[2]
        if inner and inner not in inside(self.old, top.id):
            near = _near(inner, self.old, inside(self.old, top.id))
            raise self.refused(f"there is no node {inner!r} in {top.id!r}{near}")
        return Entry(top.id, self._index(top, int(found["index"])))

    def check(self, top: Node) -> None:
        """Check that the run came to a node of the top frame, and that the fork can."""
        if top.id not in self.new.nodes:
            raise self.refused(f"{top.id!r} is not in the new graph, so it cannot run there")
        if top.id not in self.old.nodes:
            return
        if top.id in self.source.skipped:
            raise self.refused(f"{top.id!r} was skipped, so nothing led into it")
        if top.id not in self.source.order and top.id not in self.source.unfinished:
            raise self.refused(f"the run never reached {top.id!r}")

    def why_inside(self, node: Node, top: Node) -> str:
        """Say why a node in a container is no place to begin, and where to begin instead."""
        if top.type.name == "loop":
            why = "a loop cannot be entered in the middle, because each round needs what the one before left"
            return f"{why}; fork from the loop itself, {top.id!r}"
        why = f"{node.id!r} is inside iteration {top.id!r} and this does not say in which item"
        done = self._done(top)
        if not done or self.source.from_store or obstacle(self.new, top.id) is not None:
            return f"{why}; fork from {top.id!r}"
        return f"{why}; fork from '{top.id}[n]' with n from 0 to {done}, or from {top.id!r} for all items"

    def _index(self, top: Node, index: int) -> int | None:
        if not index:
            return None
        if self.source.from_store:
            raise self.refused(f"what each item gave is not in the run store; fork from {top.id!r}")
        reason = obstacle(self.new, top.id)
        if reason is not None:
            raise self.refused(f"items of {top.id!r} cannot be taken over: {reason}; fork from {top.id!r}")
        done = self._done(top)
        if index > done:
            what = "no item" if not done else "only the first item" if done == 1 else f"only the first {done} items"
            how = f"'{top.id}[{done}]' or a lower item" if done else repr(top.id)
            raise self.refused(f"{what} of {top.id!r} ended without a gap; fork from {how}")
        return index

    def _done(self, top: Node) -> int:
        """Count the items of an iteration that are done, from the first without a gap."""
        known = self.source.nodes.get(top.id)
        if known is None or known.items is not None:
            return 0 if known is None else known.items or 0
        results = results_of(known)
        data = cast("IterationData", top.data)
        if known.status == "succeeded" and data.error_handle_mode == "remove-abnormal-output":
            return max(results, default=-1) + 1
        return prefix(results, set())

    def refused(self, why: str) -> InvalidInputs:
        """Say what is wrong with the name, and what else there is."""
        source, run = self.source, self.source.run_id
        ids = [node_id for node_id in (*source.order, *source.unfinished) if node_id in self.new.nodes]
        more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
        shown = ", ".join(_shown(self.old, node_id) for node_id in ids[:_LISTED]) or "no nodes yet"
        text = f"cannot fork run {run!r} from {self.name!r}: {why}. Possible are: {shown}{more}."
        return InvalidInputs(text, node=self.name, field="from_node")


def obstacle(graph: Graph, node_id: str) -> str | None:
    """Say why an iteration cannot be taken over in part; None when it can."""
    if graph.nodes[node_id].type.name != "iteration":
        return "it is no iteration in the new graph"
    for member in inside(graph, node_id):
        if graph.nodes[member].type.writes is not None:
            return f"node {member!r} in it writes variables of the run"
    return None


def results_of(known: Reused) -> dict[int, Any]:
    """Give the results of an iteration that ended, by index; those that were left out of its output are not there."""
    if known.results is not None:
        return dict(known.results)
    listed = known.outputs.get("output")
    return dict(enumerate(listed)) if isinstance(listed, list) else {}


def _near(name: str, graph: Graph, among: Collection[str] | None = None) -> str:
    near = get_close_matches(name, graph.nodes if among is None else among, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _shown(graph: Graph, node_id: str) -> str:
    has_items = graph.nodes[node_id].type.name == "iteration" and obstacle(graph, node_id) is None
    return f"{node_id}[n]" if has_items else node_id
