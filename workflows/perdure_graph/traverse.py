"""Edges: which are taken, which are skipped, and which nodes that makes ready.

A node is ready once every incoming edge is decided and at least one was taken; it is skipped once all were skipped.
So a join waits for every path into it and runs exactly once per frame. Nodes that the same end makes ready run side
by side: whatever starts first, none of them sees what another puts out (`machine.NodeContext`).
"""

from __future__ import annotations

from . import stream
from .graph import Node
from .machine import Machine
from .state import Frame, NodeRun


def follow(m: Machine, frame: Frame, node: Node, handle: str | None) -> None:
    """Decide the outgoing edges of a finished node; skips spread before takes.

    handle: the selected handle of a branching node; None takes every edge.
    """
    edges = m.graph.out[node.id]
    if handle is not None:
        for edge in edges:
            if edge.handle != handle:
                skip(m, frame, edge.target, node.id)
    for edge in edges:
        if handle is None or edge.handle == handle:
            stream.edge_taken(m, frame, edge)
            _arrive(m, frame, edge.target, node.id, taken=True)


def skip(m: Machine, frame: Frame, target: str, by: str) -> None:
    """Spread a skipped edge: nodes whose edges are now all skipped are skipped too, and so on.

    by: the node whose end skips the edge.
    """
    stack = [target]
    while stack:
        node_id = stack.pop()
        if _arrive(m, frame, node_id, by, taken=False):
            frame.nodes[node_id] = NodeRun(status="skipped", started_at=m.now)
            stack.extend(edge.target for edge in reversed(m.graph.out[node_id]))


def _arrive(m: Machine, frame: Frame, node_id: str, by: str, *, taken: bool) -> bool:
    """Count a decided edge into a node; enqueue the node when it is ready. True when it is skipped instead."""
    decided, count = frame.arrived.get(node_id, (0, 0))
    decided, count = decided + 1, count + int(taken)
    frame.arrived[node_id] = (decided, count)
    if decided != m.graph.in_degree[node_id]:
        return False
    if count == 0:
        return True
    # Loop variables are there from the start of the loop: a container hides nothing.
    if m.graph.nodes[node_id].type.role != "container":
        frame.ready_by[node_id] = by
    m.enqueue(frame, node_id)
    return False
