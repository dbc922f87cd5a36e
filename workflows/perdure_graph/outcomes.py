"""What a run tells of itself so that it can be forked, or become a regression case: how its nodes ended.

Most of that is in the state of the nodes; what nodes in containers leave to the run is noted here as it happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from . import pool
from .graph import Document, Graph, Node
from .machine import Machine
from .nodes.base import Write
from .request import Asked, Pin, Reused, RunOptions, RunStatus, Said, Written
from .state import Frame, IterationRun, NodeRun, RunState


class Outcomes(BaseModel):
    """All that a fork, or a regression case, needs to know of a run; of nodes only those of the top frame.

    system: the variables of `sys`.
    nodes: how nodes ended; also iterations that have not, with the items that have (`Reused.items`).
    order: ids of those that ended, in that order.
    failed: the node that ended the run; unfinished: nodes that were reached and did not end well; skipped: nodes that
        the run went past.
    from_store: the server has forgotten the run; `lost` says what is not known whole then, by node id.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    status: RunStatus
    graph: Document
    graph_hash: str
    asked: Asked
    pins: dict[str, Pin]
    options: RunOptions
    system: dict[str, JsonValue]
    nodes: dict[str, Reused]
    order: list[str]
    failed: str | None = None
    unfinished: list[str] = []
    skipped: list[str] = []
    from_store: bool = False
    lost: dict[str, list[str]] = {}


def top_run(m: Machine, frame: Frame, run: NodeRun) -> tuple[NodeRun, int]:
    """Find the node of the top frame in which a node runs (it itself, at the top), and the item or round there."""
    index = 0
    while frame.parent is not None:
        parent = m.state.frames[frame.parent]
        run, index, frame = parent.nodes[frame.container], frame.index, parent
    return run, index


def note_writes(m: Machine, frame: Frame, run: NodeRun, writes: Sequence[Write]) -> None:
    """Keep what a node wrote besides its outputs; of the nodes in a container, what outlives it, once per variable."""
    if not writes:
        return
    if not frame.id:
        run.writes = [Written.model_construct(selector=change.selector, value=change.value) for change in writes]
        return
    shared = pool.scope_of(m.state, frame) is m.state.root.scope
    top, _ = top_run(m, frame, run)
    kept = {written.selector: written for written in top.writes}
    for change in writes:
        target = m.graph.nodes.get(change.selector[0])
        if change.selector[0] == "conversation" or (shared and (target is None or target.type.role != "container")):
            kept.pop(change.selector, None)
            kept[change.selector] = Written.model_construct(selector=change.selector, value=change.value)
    top.writes = list(kept.values())


def note_set(m: Machine, values: Mapping[str, Any]) -> None:
    """Keep conversation variables that an operator set, with the node that had ended last: a fork sets them there."""
    ended = [run for run in m.state.root.nodes.values() if run.status in ("succeeded", "exception")]
    if ended and values:
        last = max(ended, key=lambda run: run.ended)
        written = [Written.model_construct(selector=("conversation", name), value=values[name]) for name in values]
        last.writes = [*last.writes, *written]


def note_answer(m: Machine, frame: Frame, node: Node, outputs: Mapping[str, Any]) -> None:
    """Keep what a response node inside a container gave to the run."""
    if not frame.id:
        return
    top, index = top_run(m, frame, frame.nodes[node.id])
    is_answer = node.type.name == "answer"
    top.said.append(
        Said.model_construct(
            node_id=node.id,
            frame=frame.id,
            index=index,
            text=str(outputs.get("answer", "")) if is_answer else None,
            files=tuple(outputs.get("files") or ()) if is_answer else (),
            outputs={} if is_answer else dict(outputs),
        )
    )


def results_to_keep(state: IterationRun, outputs: Mapping[str, Any]) -> dict[int, Any] | None:
    """Give the results of an iteration that ends, unless its output lists them item by item."""
    listed = outputs.get("output")
    items = cast("list[Any]", listed) if isinstance(listed, list) else []
    told = len(items) == len(state.items) == len(state.results)
    if told and all(items[index] is value for index, value in state.results.items()):
        return None
    return state.results


def outcomes(graph: Graph, state: RunState) -> Outcomes:
    """Say how the nodes of the top frame have ended so far, and what the run was asked."""
    root = state.root
    ended = sorted(
        (node_id for node_id, run in root.nodes.items() if run.status in ("succeeded", "exception")),
        key=lambda node_id: root.nodes[node_id].ended,
    )
    nodes = {node_id: _ended(graph, state, node_id) for node_id in ended}
    skipped = [node_id for node_id, run in root.nodes.items() if run.status == "skipped"]
    unfinished = [node_id for node_id in root.nodes if node_id not in nodes and node_id not in skipped]
    for node_id in unfinished:
        begun = _begun(root.nodes[node_id])
        if begun is not None:
            nodes[node_id] = begun
    return Outcomes(
        run_id=state.run_id,
        status=state.status,
        graph=graph.document,
        graph_hash=state.graph_hash,
        asked=state.asked,
        pins=state.pins,
        options=state.options,
        system=(root.scope or {}).get("sys", {}),
        nodes=nodes,
        order=ended,
        failed=_failed(graph, state),
        unfinished=unfinished,
        skipped=skipped,
    )


def _ended(graph: Graph, state: RunState, node_id: str) -> Reused:
    run = state.root.nodes[node_id]
    scope = state.root.scope or {}
    writes = {written.selector: written for written in run.writes} if run.writes else {}
    if graph.nodes[node_id].type.name == "loop":
        # The nodes of a loop leave their variables where those after it can read them.
        for member in inside(graph, node_id):
            for name, value in scope.get(member, {}).items():
                writes[(member, name)] = Written.model_construct(selector=(member, name), value=value)
    return Reused(
        outputs=dict(scope.get(node_id, {})),
        handle=run.handle,
        status="exception" if run.status == "exception" else "succeeded",
        writes=tuple(writes.values()),
        results=run.results,
        said=tuple(run.said),
        exceptions=run.exceptions,
    )


def _begun(run: NodeRun) -> Reused | None:
    """Sum up the first items of an iteration that has not ended well; None where there are none."""
    if isinstance(run.container, IterationRun):
        results, over = run.container.results, set(run.container.dropped)
    else:
        results, over = run.results or {}, set[int]()
    count = prefix(results, over)
    if not count:
        return None
    return Reused(
        items=count,
        results={index: value for index, value in results.items() if index < count},
        said=tuple(one for one in run.said if one.index < count),
        exceptions=run.exceptions,
    )


def prefix(results: Mapping[int, Any], dropped: set[int]) -> int:
    """Count the items that are done without a gap from the first."""
    count = 0
    while count in results or count in dropped:
        count += 1
    return count


def _failed(graph: Graph, state: RunState) -> str | None:
    for node_id, run in state.root.nodes.items():
        if run.status in ("failed", "held"):
            return node_id
    node = graph.nodes.get(state.error.node) if state.error is not None else None
    return top_of(graph, node).id if node is not None else None


def top_of(graph: Graph, node: Node) -> Node:
    """Find the node of the top frame in which a node lies; it itself, at the top."""
    while node.parent is not None and node.parent in graph.nodes:
        node = graph.nodes[node.parent]
    return node


def inside(graph: Graph, container: str) -> list[str]:
    """Ids of all nodes inside a container, at any depth, in document order."""
    found: list[str] = []
    for node in graph.nodes.values():
        parent, seen = node.parent, set[str]()
        while parent is not None and parent != container and parent in graph.nodes and parent not in seen:
            seen.add(parent)
            parent = graph.nodes[parent].parent
        if parent == container:
            found.append(node.id)
    return found
