"""What can be said of a graph without running it.

check            remarks on the drawing: cycles, dead ends, names of nothing, what differs from Dify
check_runnable   refuses a run that would meet a node Perdure cannot run
report           both, with one row per node at least: what `perdure validate` prints
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from . import caching
from .check_references import check_references, told
from .errors import InvalidGraph, NodeError
from .graph import Graph, Node
from .nodes.iteration import check_start
from .options import NodeOptions
from .report import Finding, Level


def check(graph: Graph) -> list[Finding]:
    """List every remark on a graph; `refused` ones keep it from loading."""
    return [
        *_containers(graph),
        *_cycles(graph),
        *_unreached(graph),
        *_edges(graph),
        *check_references(graph),
        *_caches(graph),
        *(finding for node in graph.nodes.values() for finding in _differences(node)),
    ]


def check_runnable(graph: Graph, pins: Collection[str]) -> None:
    """Check that each node a run can reach can run, or is pinned by its id or `type:<its type>`.

    Raises:
        InvalidGraph: names all nodes that can neither run nor are pinned.
    """
    live = live_nodes(graph)
    missing = [_refusal(node) for node in graph.nodes.values() if node.id in live and not _can_run(node, pins)]
    if missing:
        raise InvalidGraph(f"{graph.name} cannot run:", missing)


def report(graph: Graph, pins: Collection[str] = ()) -> list[Finding]:
    """List all that is known of a graph: the document first, then node by node, each with a row at least."""
    findings = list(graph.findings)
    known = {(finding.node, finding.message) for finding in findings}
    findings += [finding for finding in check(graph) if (finding.node, finding.message) not in known]
    by_node: dict[str, list[Finding]] = {}
    for finding in findings:
        by_node.setdefault(finding.node if finding.node in graph.nodes else "", []).append(finding)
    rows = by_node.get("", [])
    live = live_nodes(graph)
    for node in graph.nodes.values():
        own = by_node.get(node.id, [])
        if not _can_run(node, pins):
            refusal = _refusal(node)
            rows.append(refusal if node.id in live else refusal.model_copy(update={"level": "warning"}))
        elif not any(finding.level == "differs" for finding in own):
            pinned = _is_pinned(node, pins)
            rows.append(_about(node, "same", "answers what it is pinned to." if pinned else "runs as in Dify."))
        rows += own
    return rows


def live_nodes(graph: Graph) -> set[str]:
    """Find the nodes that some run can reach: from the start, and within the containers so reached."""
    live: set[str] = set()
    starts = [graph.root]
    while starts:
        start = starts.pop()
        if start not in live:
            found = graph.reachable(start) - live
            live |= found
            starts += [inner for node in found if (inner := _start_of(graph, graph.nodes[node])) is not None]
    return live


def _start_of(graph: Graph, container: Node) -> str | None:
    start = getattr(container.data, "start_node_id", None)
    return start if container.type.role == "container" and isinstance(start, str) and start in graph.nodes else None


def _about(node: Node, level: Level, message: str, field: str = "", next_step: str = "") -> Finding:
    return Finding(level=level, message=message, node=node.id, title=node.title, field=field, next_step=next_step)


def _is_pinned(node: Node, pins: Collection[str]) -> bool:
    return node.id in pins or f"type:{node.type.name}" in pins


def _can_run(node: Node, pins: Collection[str]) -> bool:
    can = node.type.start is not None and not told(node.type.lacks, node)
    return can or node.type.role == "container" or _is_pinned(node, pins)


def _refusal(node: Node) -> Finding:
    kind = node.type.name
    needs = node.type.needs or told(node.type.lacks, node) or "something that this version lacks"
    return _about(
        node,
        "refused",
        f"a {kind!r} node does not run yet: it needs {needs}.",
        "data.type",
        f"Pin its outputs (pin {node.id!r} or 'type:{kind}'), or take the node out.",
    )


def _differences(node: Node) -> Iterator[Finding]:
    for difference in told(node.type.differs, node) or ():
        yield _about(node, "differs", difference)


def _caches(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes.values():
        options: NodeOptions = node.data.perdure
        if options.cache is not None and caching.has_side_effects(node, options):
            yield _about(node, "refused", caching.why(node, options), caching.DRAWN, caching.step_of(options))


def _containers(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes.values():
        parent = graph.nodes.get(node.parent or "")
        if parent is not None and parent.type.role != "container":
            yield _about(node, "warning", f"it lies within {node.parent!r}, which is no container.", "parentId")
        if node.type.role != "container":
            continue
        try:
            check_start(node.data, graph.nodes, graph.document.version)
        except NodeError as error:
            absent = _start_of(graph, node) is None
            message = f"{error.message}." if absent else f"{error.message}; the node will fail when it runs."
            yield _about(node, "refused" if absent else "warning", message, "data.start_node_id")


def _starts(graph: Graph) -> set[str]:
    inner = (_start_of(graph, node) for node in graph.nodes.values())
    return {graph.root, *(start for start in inner if start is not None)}


def _cycles(graph: Graph) -> Iterator[Finding]:
    """Find nodes that wait for each other. A start waits for nothing: an edge back to it closes no cycle."""
    starts = _starts(graph)
    out = {node: [edge.target for edge in edges if edge.target not in starts] for node, edges in graph.out.items()}
    for component in _components(out):
        if len(component) == 1 and component[0] not in out[component[0]]:
            continue
        inside = set(component)
        names = [node.title for node in graph.nodes.values() if node.id in inside]
        first = next(node for node in graph.nodes.values() if node.id in inside)
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        shown = ", ".join(map(repr, names[:20])) + more
        message = f"these nodes wait for each other and never run, nor does what follows them: {shown}."
        yield _about(first, "warning", message, "", "Take out the edge that closes the circle, or use a loop node.")


def _components(out: dict[str, list[str]]) -> Iterator[list[str]]:
    """Group nodes into strongly connected components (Tarjan's algorithm, without recursion)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    on_path: set[str] = set()
    work: list[tuple[str, Iterator[str]]] = []

    def enter(node: str) -> None:
        number[node] = low[node] = len(number)
        path.append(node)
        on_path.add(node)
        work.append((node, iter(out[node])))

    for root in out:
        if root not in number:
            enter(root)
        while work:
            node, targets = work[-1]
            target = next(targets, None)
            if target is not None:
                if target not in number:
                    enter(target)
                elif target in on_path:
                    low[node] = min(low[node], number[target])
                continue
            work.pop()
            if work:
                low[work[-1][0]] = min(low[work[-1][0]], low[node])
            if low[node] == number[node]:
                component: list[str] = []
                while not component or component[-1] != node:
                    component.append(path.pop())
                on_path.difference_update(component)
                yield component


def _unreached(graph: Graph) -> Iterator[Finding]:
    live = live_nodes(graph)
    for node in graph.nodes.values():
        if node.id in live or (node.parent is not None and node.parent not in live):
            continue
        if node.type.role == "root":
            active = graph.nodes[graph.root].title
            yield _about(node, "warning", f"it never runs: the run starts at {active!r}.")
        else:
            yield _about(
                node,
                "warning",
                "it never runs: no edge leads here from the start.",
                "",
                "Link it, or delete it.",
            )


def _edges(graph: Graph) -> Iterator[Finding]:
    starts = _starts(graph)
    for index, edge in enumerate(graph.document.edges):
        source, target = graph.nodes[edge.source], graph.nodes[edge.target]
        here = f"edges.{index}"
        message, step = _handle_problem(source, edge.handle)
        if message:
            text = f"the edge to {edge.target!r} {message}"
            yield _about(source, "warning", text, f"{here}.sourceHandle", step)
        if source.parent != target.parent:
            text = f"the edge to {edge.target!r} crosses the border of a container, which Dify never draws."
            yield _about(source, "warning", text, f"{here}.target", "Link the container itself.")
        elif edge.target in starts:
            text = f"the edge to {edge.target!r} leads back to a start, which runs only once."
            yield _about(source, "warning", text, f"{here}.target", "Delete it, or use a loop node.")
    for node in graph.nodes.values():
        if node.type.role == "branch" and node.data.error_strategy == "default-value":
            text = "a branch node with default values selects no branch when it fails, which fails the run."
            yield _about(node, "warning", text, "data.error_strategy", "Use the fail branch.")


def _handle_problem(source: Node, handle: str) -> tuple[str, str]:
    """Say why an edge is not taken as drawn, and the next step; empty texts when it is."""
    if not source.is_branch:
        if handle == "fail-branch":
            return "is taken always: the node has no fail branch.", "Give it one, or draw the edge again."
        return "", ""
    handles = ["source"] if source.type.role != "branch" else told(source.type.handles, source)
    if handles is None:
        return "", ""
    extra = ["fail-branch"] if source.data.error_strategy == "fail-branch" else []
    known = [*handles, *extra]
    if handle in known:
        return "", ""
    return (
        f"is never taken: the node has no handle {handle!r}.",
        f"Its handles: {', '.join(map(repr, known))}.",
    )
