"""The graph of a run: nodes, edges, variables; immutable, with its content hash and its topology.

A graph is built from a normalised document (`document`), which is what travels in a run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .document import Document, Edge, Mode, NodeSpec, Variable
from .errors import InvalidGraph
from .nodes import NodeData, NodeType, registry
from .report import Finding

__all__ = ["RESERVED", "Document", "Edge", "Graph", "Mode", "Node", "NodeSpec", "OutEdge", "Variable", "graph_of"]

RESERVED = frozenset({"sys", "env", "conversation", "rag"})
MAX_PROBLEMS_PER_NODE = 20


@dataclass(frozen=True, slots=True)
class Node:
    """A node with its parsed data and its type."""

    id: str
    type: NodeType[Any]
    data: NodeData
    parent: str | None

    @property
    def title(self) -> str:
        """What people call the node: its title, else its id."""
        return self.data.title or self.id

    @property
    def is_branch(self) -> bool:
        """Whether finishing it selects one handle (branch nodes and nodes with a fail branch)."""
        return self.type.role == "branch" or self.data.error_strategy == "fail-branch"

    @property
    def loop(self) -> str | None:
        """The innermost loop whose rounds clear the node's variables."""
        return self.data.loop_id


@dataclass(frozen=True, slots=True)
class OutEdge:
    """An edge seen from its source."""

    index: int
    handle: str
    target: str


class Graph:
    """A validated graph. Build it with `Graph.from_document`; equal documents give equal hashes."""

    def __init__(self, document: Document, nodes: dict[str, Node], findings: tuple[Finding, ...] = ()) -> None:
        self.document = document
        self.nodes = nodes
        self.findings = findings
        self.hash = document.hash
        self.root = _active_root(nodes)
        self.out: dict[str, tuple[OutEdge, ...]] = _out_edges(document.edges, nodes)
        self.in_degree: dict[str, int] = self._live_in_degrees()

    @property
    def name(self) -> str:
        """Name of the app, else "graph"."""
        return self.document.name or "graph"

    @staticmethod
    def load(source: str | bytes | Path) -> Graph:
        """Load a Dify DSL file (`Path`, or a path in a one-line string) or its text.

        Raises:
            InvalidGraph: with every problem found, located by node, field and line.
        """
        from .dsl import load

        if isinstance(source, str) and "\n" not in source and not source.lstrip().startswith("{"):
            source = Path(source)
        return load(source)

    @classmethod
    def from_document(cls, document: Document) -> Graph:
        """Validate nodes and edges.

        Raises:
            InvalidGraph: with every problem found, located by node and field.
        """
        return cls(document, *_parse(document))

    def reachable(self, start: str) -> set[str]:
        """Ids reachable from a node by edges, the node included."""
        seen = {start}
        stack = [start]
        while stack:
            for edge in self.out.get(stack.pop(), ()):
                if edge.target not in seen:
                    seen.add(edge.target)
                    stack.append(edge.target)
        return seen

    @cached_property
    def loop_members(self) -> dict[str, tuple[str, ...]]:
        """For each loop, the nodes whose variables a new round clears."""
        members: dict[str, list[str]] = {}
        for node in self.nodes.values():
            if node.loop is not None:
                members.setdefault(node.loop, []).append(node.id)
        return {loop: tuple(ids) for loop, ids in members.items()}

    @cached_property
    def segments(self) -> dict[str, tuple[str | tuple[str, ...], ...]]:
        """What each response node of the top frame streams: texts and selectors in reading order."""
        return {
            node_id: tuple(node.type.segments(node.data))
            for node_id in sorted(self.reachable(self.root))
            if (node := self.nodes[node_id]).type.segments is not None
        }

    @cached_property
    def answer_variables(self) -> frozenset[tuple[str, ...]]:
        """The variables that response nodes of the top frame print."""
        return frozenset(part for parts in self.segments.values() for part in parts if not isinstance(part, str))

    @cached_property
    def assigner_blocks(self) -> dict[str, frozenset[str]]:
        """For each response node, the nodes that write a variable which it prints."""
        writers = [
            (node.id, {selector[:2] for selector in node.type.writes(node.data)})
            for node in self.nodes.values()
            if node.type.writes is not None
        ]
        found: dict[str, frozenset[str]] = {}
        for response, segments in self.segments.items():
            used = {part[:2] for part in segments if not isinstance(part, str)}
            blockers = frozenset(writer for writer, written in writers if written & used)
            if blockers:
                found[response] = blockers
        return found

    def _live_in_degrees(self) -> dict[str, int]:
        """Count the edges that can ever be decided.

        Edges out of what no frame ever reaches (a second root, an orphan) would keep a join waiting for ever.
        """
        live = self.reachable(self.root)
        for node in self.nodes.values():
            if node.type.role == "container":
                start = getattr(node.data, "start_node_id", None)
                if isinstance(start, str) and start in self.nodes:
                    live |= self.reachable(start)
        degrees = dict.fromkeys(self.nodes, 0)
        for source in live:
            for edge in self.out.get(source, ()):
                degrees[edge.target] += 1
        return degrees


@lru_cache(maxsize=256)
def _cached(key: str) -> Graph:
    return Graph.from_document(Document.model_validate_json(key))


def graph_of(document: Document | dict[str, Any]) -> Graph:
    """Build a graph, or take the one already built from the same document in this process.

    Takes a normalised document, or one as editors export it (as JSON).

    Raises:
        InvalidGraph: with every problem found.
    """
    if isinstance(document, Document):
        return _cached(document.model_dump_json())
    return Graph.load(json.dumps(document).encode())


def _parse(document: Document) -> tuple[dict[str, Node], tuple[Finding, ...]]:
    types = registry()
    problems: list[Finding] = []
    nodes: dict[str, Node] = {}
    for spec in document.nodes:
        problems += _add_node(spec, types, nodes)
    ids = {spec.id for spec in document.nodes}
    for index, edge in enumerate(document.edges):
        for end, field in ((edge.source, "source"), (edge.target, "target")):
            if end not in ids:
                text = f"edge {edge.source!r} -> {edge.target!r} names a node that does not exist: {end!r}."
                problems.append(
                    Finding(level="refused", message=text, field=f"edges.{index}.{field}", next_step="Delete the edge.")
                )
    if not problems and not any(node.type.role == "root" for node in nodes.values()):
        problems.append(Finding(level="refused", message="there is no start node.", next_step="Add one."))
    if problems:
        raise InvalidGraph(f"{document.name or 'The graph'} cannot be loaded:", problems)
    return nodes, ()


def _add_node(spec: NodeSpec, types: dict[str, NodeType[Any]], nodes: dict[str, Node]) -> list[Finding]:
    kind = str(spec.data.get("type", ""))
    title = str(spec.data.get("title") or "")

    def refused(message: str, field: str = "", next_step: str = "") -> list[Finding]:
        return [Finding(level="refused", message=message, node=spec.id, title=title, field=field, next_step=next_step)]

    if spec.id in nodes:
        return refused("two nodes have this id.", "id", "Give one of them another id.")
    if spec.id in RESERVED:
        return refused("this id is reserved for variables.", "id", "Give the node another id.")
    node_type = types.get(kind)
    if node_type is None:
        near = get_close_matches(kind, types, 1)
        step = f"Did you mean {near[0]!r}?" if near else f"Known types: {', '.join(sorted(types))}."
        return refused(f"unknown node type {_short(kind)}.", "data.type", step)
    try:
        data = node_type.data.model_validate(spec.data)
    except ValidationError as error:
        return [
            finding
            for detail in error.errors(include_url=False)[:MAX_PROBLEMS_PER_NODE]
            for finding in refused(
                _in_words(detail["type"], detail["msg"], detail.get("input")),
                ".".join(["data", *(str(part) for part in detail["loc"])]),
                "Correct it in the editor and export again.",
            )
        ]
    except (TypeError, AttributeError, LookupError) as error:
        # pydantic lets these pass: a node type, perhaps a third party's, met data that it did not expect
        return refused(f"the node type {kind!r} cannot read this data: {error!r}.", "data")
    nodes[spec.id] = Node(id=spec.id, type=node_type, data=data, parent=spec.parent)
    return []


def _in_words(kind: str, message: str, value: object) -> str:
    if kind == "missing":
        return "this field is missing."
    return f"{message.removeprefix('Value error, ')} (got {_short(value)})."


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _active_root(nodes: dict[str, Node]) -> str:
    """Prefer a `start` node; otherwise the first root in document order."""
    roots = [node.id for node in nodes.values() if node.type.role == "root"]
    return next((r for r in roots if nodes[r].type.name == "start"), roots[0])


def _out_edges(edges: tuple[Edge, ...], nodes: dict[str, Node]) -> dict[str, tuple[OutEdge, ...]]:
    out: dict[str, list[OutEdge]] = {node: [] for node in nodes}
    for index, edge in enumerate(edges):
        out[edge.source].append(OutEdge(index=index, handle=edge.handle, target=edge.target))
    return {node: tuple(items) for node, items in out.items()}


# Listed at import: a workflow must never be the first to read the file system.
registry()
