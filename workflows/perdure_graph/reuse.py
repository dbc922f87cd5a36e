"""Taking over what an earlier run did: the running side of forks, and what a run tells of itself for one.

`RunRequest.reuse` names nodes of the top frame and how they ended. They are taken over in the order in which they
stand there, the one in which they ended, before anything else starts; so response nodes speak in the same order. What
runs anew is what is not named; `fork_plan` chooses. An iteration may be taken over in part: its first items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, JsonValue

from . import lifecycle, pool, stream
from .errors import InvalidInputs
from .events import NodeFinished, NodeStarted, TextChunk, VariableUpdated
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


def check(graph: Graph, reuse: Mapping[str, Reused]) -> None:
    """Check that what is to be taken over fits the graph.

    Raises:
        InvalidInputs: names the node and why it cannot be taken over.
    """
    for node_id, known in reuse.items():
        node = graph.nodes.get(node_id)
        if node is None or node.parent is not None:
            where = "is not in the graph" if node is None else f"lies inside {node.parent!r}: take that over"
            raise InvalidInputs(f"reuse: node {node_id!r} {where}.", node=node_id, field="reuse")
        if known.items is not None and node.type.name != "iteration":
            text = f"reuse: node {node_id!r} is no iteration, so it has no items to take over; leave `items` out."
            raise InvalidInputs(text, node=node_id, field="reuse")
        if known.items is None and node.is_branch and known.handle is None:
            text = f"reuse: node {node_id!r} branches; say by which `handle` the run goes on."
            raise InvalidInputs(text, node=node_id, field="reuse")


def next_ready(state: RunState) -> tuple[str, str] | None:
    """Take the next node out of the queue that is taken over; None when no such node is ready."""
    if not state.reuse:
        return None
    ready = {node_id for frame, node_id in state.ready if not frame}
    for node_id, known in state.reuse.items():
        if known.items is None and node_id in ready:
            state.ready.remove(("", node_id))
            return "", node_id
    return None


def take_over(m: Machine, frame: Frame, node: Node) -> bool:
    """End a ready node as it ended before, if it is one of those."""
    known = None if frame.id else m.state.reuse.get(node.id)
    if known is None or known.items is not None:
        return False
    del m.state.reuse[node.id]
    run = frame.nodes[node.id] = NodeRun(status=known.status, started_at=m.now, results=known.results)
    run.writes = list(known.writes)
    m.emit_node(NodeStarted, frame, node)
    for change in known.writes:
        pool.write(m.state, frame, change.selector, change.value)
        # What a loop leaves in its members is no change that anybody made.
        if node.type.role != "container" or change.selector[0] == "conversation":
            m.emit_node(VariableUpdated, frame, node, selector=change.selector, value=change.value)
    _count_and_say(m, run, known)
    stream.merge_answers(m, frame, [text for texts in _texts(known.said).values() for text in texts])
    lifecycle.keep_outputs(m, frame, node, known.outputs)
    lifecycle.go_on(m, frame, node, known.handle)
    failed = known.status == "exception"
    m.emit_node(
        NodeFinished,
        frame,
        node,
        status=known.status,
        outputs=known.outputs,
        handle=known.handle,
        error=str(known.outputs.get("error_message", "")) if failed else None,
        error_type=str(known.outputs.get("error_type", "")) if failed else None,
        reused=True,
    )
    lifecycle.leave(m, frame)
    return True


def fill_in(m: Machine, frame: Frame, node: Node, run: NodeRun, state: IterationRun) -> None:
    """Give an iteration that opens the items that are taken over, as far as there are such items now."""
    known = None if frame.id else m.state.reuse.get(node.id)
    if known is None or known.items is None:
        return
    count = min(known.items, len(state.items))
    state.next = count
    state.results = {index: value for index, value in (known.results or {}).items() if index < count}
    state.dropped = [index for index in range(count) if index not in state.results]
    said = [one for one in known.said if one.index < count]
    state.answers = _texts(said)
    if run.group == 1:
        _count_and_say(m, run, known.model_copy(update={"said": tuple(said)}))


def _count_and_say(m: Machine, run: NodeRun, known: Reused) -> None:
    """Count the failed attempts of a container, and repeat what response nodes inside it gave to the run."""
    run.exceptions += known.exceptions
    run.said.extend(known.said)
    m.state.exceptions_count += known.exceptions
    for one in known.said:
        m.state.outputs.update(one.outputs)
        m.state.files.extend(one.files)
        if one.text:
            m.emit(TextChunk, node_id=one.node_id, text=one.text, frame=one.frame)


def _texts(said: Sequence[Said]) -> dict[int, list[str]]:
    """Give the answers by item, in the order of items."""
    texts: dict[int, list[str]] = {}
    for one in sorted(said, key=lambda one: one.index):
        if one.text is not None:
            texts.setdefault(one.index, []).append(one.text)
    return texts


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
    while node is not None and node.parent is not None:
        node = graph.nodes.get(node.parent)
    return node.id if node is not None else None


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
