"""Taking over what an earlier run did: the running side of forks.

`RunRequest.reuse` names nodes of the top frame and how they ended. They are taken over in the order in which they
stand there, the one in which they ended, before anything else starts; so response nodes speak in the same order. What
runs anew is what is not named; `fork_plan` chooses. An iteration may be taken over in part: its first items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import lifecycle, pool, stream
from .errors import InvalidInputs
from .events import NodeFinished, NodeStarted, VariableUpdated
from .graph import Graph, Node
from .machine import Machine
from .request import Reused, Said
from .state import Frame, IterationRun, NodeRun, RunState


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
            stream.say(m, one.node_id, one.text, frame=one.frame)


def _texts(said: Sequence[Said]) -> dict[int, list[str]]:
    """Give the answers by item, in the order of items."""
    texts: dict[int, list[str]] = {}
    for one in sorted(said, key=lambda one: one.index):
        if one.text is not None:
            texts.setdefault(one.index, []).append(one.text)
    return texts
