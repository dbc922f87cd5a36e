"""Windows: a large iteration runs its items in child workflows of bounded size, so that no history holds them all.

An iteration is windowed when it stands at the top of the graph, has more items than `RunOptions.window_items`, and
its body neither talks to people nor writes variables of the run: such a body needs nothing of the run but values.
All other iterations run in frames of the run itself.

In the child the same core runs the same frames: it gets a state whose one open node is the iteration (`open_window`),
and ends where the run would go on (`outcome_of`).
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, cast

from . import child_runs, containers, failing, lifecycle, pool
from .children import ChildEffect
from .commands import Cancel, OpenWindow, Pause, Resume, TellWindows
from .errors import NodeError
from .events import WindowFinished
from .graph import Document, Graph, Node
from .machine import Machine
from .nodes.iteration import IterationData
from .request import RunOptions
from .state import Frame, IterationRun, NodeRun, Place, RunState
from .window import WindowOutcome, WindowRequest

MAX_LANES = 8
_SYSTEM = ("sys", "env", "conversation")


def is_windowed(m: Machine, parent: Frame, node: Node, state: IterationRun) -> bool:
    """Whether the items of an iteration run in child workflows."""
    options = m.state.options
    return (
        not m.state.is_window
        and not parent.id
        and len(state.items) > options.window_items
        and options.on_failure == "fail"
        and _is_closed(m.graph, node.id, options)
    )


def _is_closed(graph: Graph, container: str, options: RunOptions) -> bool:
    for node_id in _members(graph, container):
        node = graph.nodes[node_id]
        asked = options.nodes.get(node_id)
        retry = (asked.retry if asked else None) or node.data.perdure.retry
        # Nobody hears what the children of a window wait for.
        if any(issubclass(effect, ChildEffect) for effect in node.type.effects):
            return False
        if node.type.waits or node.type.role == "response" or node.type.writes is not None or retry == "never":
            return False
    return True


def _members(graph: Graph, container: str) -> list[str]:
    """Ids of all nodes inside a container, at any depth, in document order."""
    inside = {container}
    found: list[str] = []
    pending = [node for node in graph.nodes.values() if node.parent is not None]
    while True:
        new = [node for node in pending if node.parent in inside and node.id not in inside]
        if not new:
            return [node_id for node_id in graph.nodes if node_id in found]
        found += [node.id for node in new]
        inside.update(found)


def open_windows(m: Machine, node: Node, state: IterationRun) -> None:
    """Open windows until every lane is busy.

    Together they never run more items at once than the iteration may, nor more effects than the run may.
    """
    data = cast("IterationData", node.data)
    options = m.state.options
    width = data.parallel_nums if data.is_parallel else 1
    # The most lanes that share the width evenly.
    lanes = max(n for n in range(1, min(MAX_LANES, options.max_parallel) + 1) if width % n == 0)
    share = min(options.max_parallel // lanes, width // lanes * _breadth(m.graph, node.id, options.max_parallel))
    size = max(1, min(options.window_items, -(-len(state.items) // lanes)))
    while len(state.windows) < lanes and state.next < len(state.items):
        room = options.max_parallel - m.state.in_flight
        # One is always open: with its end comes the next turn.
        if room < 1 and state.active:
            return
        takes = max(1, min(share, room))
        first, count = state.next, min(size, len(state.items) - state.next)
        state.next += count
        state.active += 1
        key = f"{node.id}[{first}-{first + count - 1}]"
        state.windows[key] = (first, count)
        m.state.windows[key] = Place(frame="", node=node.id, takes=takes)
        request = _request(m, node, key, first, state.items[first : first + count], width // lanes, takes)
        m.out.append(OpenWindow(key=key, request=request))


@lru_cache(maxsize=256)
def _breadth(graph: Graph, container: str, most: int) -> int:
    """How many effects one item may have in flight: one per node, or `most` where the body iterates in turn."""
    members = _members(graph, container)
    nested = any(graph.nodes[node_id].type.role == "container" for node_id in members)
    return most if nested else len(members)


def _request(
    m: Machine, node: Node, key: str, first: int, items: list[Any], parallel: int, max_parallel: int
) -> WindowRequest:
    state = m.state
    return WindowRequest(
        graph=body_of(m.graph, node.id),
        graph_hash=state.graph_hash,
        run_id=state.run_id,
        scope=child_runs.joined(state.scope, key),
        within=state.within,
        container=node.id,
        first=first,
        items=items,
        parallel=parallel,
        variables={name: dict(pool.variables_of(state, state.root, name)) for name in _visible(m.graph, node.id)},
        types=state.types,
        pins=state.pins,
        options=state.options.model_copy(update={"max_parallel": max_parallel, "max_steps": None, "deadline_s": None}),
        flow=state.flow,
        tenant=state.tenant,
        paused=state.pause,
    )


@lru_cache(maxsize=256)
def body_of(graph: Graph, container: str) -> Document:
    """Cut a document down to a container, what is inside it, and the root that every document needs."""
    members = {container, graph.root, *_members(graph, container)}
    inside = members - {container, graph.root}
    document = graph.document
    return document.model_copy(
        update={
            "nodes": tuple(spec for spec in document.nodes if spec.id in members),
            "edges": tuple(edge for edge in document.edges if edge.source in inside and edge.target in inside),
        }
    )


@lru_cache(maxsize=256)
def _visible(graph: Graph, container: str) -> tuple[str, ...]:
    """Ids whose variables the body may read: every id that stands anywhere in its text, to be on the safe side."""
    inside = set(_members(graph, container))
    text = json.dumps([spec.data for spec in graph.document.nodes if spec.id in inside], ensure_ascii=False)
    others = (node_id for node_id in graph.nodes if node_id not in inside | {container})
    return (*_SYSTEM, *(node_id for node_id in others if re.search(rf"(?<![\w-]){re.escape(node_id)}(?![\w-])", text)))


def close_window(m: Machine, key: str, outcome: WindowOutcome) -> None:
    """Take the results of a window; the iteration then takes its turn in the queue like any node."""
    place = m.state.windows.pop(key, None)
    m.state.resting.discard(key)
    if place is None:
        return
    node = m.graph.nodes[place.node]
    state = m.state.root.nodes[node.id].container
    assert isinstance(state, IterationRun)
    first, count = state.windows.pop(key)
    state.results.update(outcome.results)
    state.dropped.extend(outcome.dropped)
    m.state.exceptions_count += outcome.exceptions_count
    m.state.root.nodes[node.id].exceptions += outcome.exceptions_count
    m.state.steps += outcome.steps
    m.emit_node(
        WindowFinished,
        m.state.root,
        node,
        scope=child_runs.joined(m.state.scope, key),
        first=first,
        count=count,
        exceptions=outcome.exceptions_count,
    )
    if outcome.error is not None:
        state.error = state.error or outcome.error
        for other in list(state.windows):
            drop(m, other)
            state.active -= 1
        state.windows.clear()
    limit = m.state.options.max_steps
    if limit is not None and m.state.steps > limit:
        lifecycle.too_many_steps(m, node)
        return
    m.state.ready.append(("", node.id))


def drop(m: Machine, key: str) -> None:
    """Cancel a window and forget it."""
    m.state.windows.pop(key, None)
    m.state.resting.discard(key)
    m.out.append(Cancel(key=key))


def rest(m: Machine, key: str, *, paused: bool) -> None:
    """Note that a window is at rest, or is not any more."""
    if paused and key in m.state.windows:
        m.state.resting.add(key)
    else:
        m.state.resting.discard(key)


def tell(m: Machine, command: Pause | Resume) -> None:
    """Pass a command on to all child workflows."""
    if m.state.windows or m.state.children:
        m.out.append(TellWindows(command=command.model_copy(update={"id": ""})))


def open_window(graph: Graph, request: WindowRequest, now: int) -> RunState:
    """Open the state of a window. Nothing starts before `begin_window`."""
    node = graph.nodes[request.container]
    run = NodeRun(started_at=now, container=IterationRun(items=request.items, first=request.first))
    root = Frame(scope={name: dict(values) for name, values in request.variables.items()}, nodes={node.id: run}, open=1)
    return RunState(
        run_id=request.run_id,
        graph_hash=request.graph_hash,
        started_at=now,
        options=request.options,
        pins=dict(request.pins),
        frames={"": root},
        types={name: dict(types) for name, types in request.types.items()},
        pause=request.paused,
        scope=request.scope,
        within=request.within,
        flow=request.flow,
        tenant=request.tenant,
        width=request.parallel,
    )


def begin_window(m: Machine) -> None:
    """Start the first items of a window."""
    state = m.state
    node_id = next(iter(state.root.nodes))
    run = state.root.nodes[node_id]
    assert isinstance(run.container, IterationRun)
    containers.next_items(m, state.root, m.graph.nodes[node_id], run, run.container)


def end_window(m: Machine) -> None:
    """End a window whose items are done, well or not."""
    lifecycle.finish(m, "succeeded")


def outcome_of(state: RunState) -> WindowOutcome:
    """Sum up a window that has ended."""
    run = next(iter(state.root.nodes.values()))
    assert isinstance(run.container, IterationRun)
    return WindowOutcome(
        results=run.container.results,
        dropped=run.container.dropped,
        error=run.container.error,
        exceptions_count=state.exceptions_count,
        steps=state.steps,
    )


def failed_window(m: Machine, key: str, error: NodeError) -> None:
    """Fail the iteration: a window could not run at all."""
    place = m.state.windows.pop(key, None)
    if place is None:
        return
    node = m.graph.nodes[place.node]
    run = m.state.root.nodes[node.id]
    failing.fail(m, m.state.root, node, run, error)
