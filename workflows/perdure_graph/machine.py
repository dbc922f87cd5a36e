"""One step in the making: graph, state and time, what the step emits, and small verbs that all parts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import pool, templates
from .commands import Dispatch
from .events import Event
from .graph import Graph, Node
from .nodes.base import MISSING, Missing
from .options import ValueLimits
from .state import Frame, NodeRun, RunState
from .values import ValueType


@dataclass(slots=True)
class Machine:
    """What the parts of a step pass around. `now` is milliseconds since the epoch."""

    graph: Graph
    state: RunState
    now: int
    out: list[Dispatch] = field(default_factory=list[Dispatch])

    def emit(self, kind: type[Any], **fields: Any) -> None:
        """Append an event with the next number."""
        self.state.seq += 1
        event: Event = kind(seq=self.state.seq, at=self.now, **fields)
        self.state.events.append(event)

    def emit_node(self, kind: type[Any], frame: Frame, node: Node, **fields: Any) -> None:
        """Append an event about a node in a frame."""
        self.emit(kind, node_id=node.id, title=node.title, node_type=node.type.name, frame=frame.id, **fields)

    def enqueue(self, frame: Frame, node_id: str) -> None:
        """Make a node ready."""
        frame.open += 1
        self.state.ready.append((frame.id, node_id))

    def seconds_since(self, started_at: int) -> float:
        """Seconds from a time in milliseconds until now."""
        return (self.now - started_at) / 1000


def key_of(frame: Frame, node: Node) -> str:
    """Name a node in a frame: `it[3].k`, or just `k` at the top."""
    return frame.id + node.id


def work_of(state: RunState, frame: Frame, node: Node) -> str:
    """Name a node in a frame so that it is unique among all runs, those within others included."""
    return "/".join(part for part in (state.run_id, state.within, key_of(frame, node)) if part)


def turn_of(run: NodeRun) -> str:
    """Number the start of a node among those after failures: an operator's, and the graph's own."""
    return f"{run.group}" if run.attempt == 1 else f"{run.group}.{run.attempt}"


@dataclass(slots=True)
class NodeContext:
    """What a node sees (`nodes.base.Context`)."""

    state: RunState
    frame: Frame
    node: Node
    run: NodeRun
    now: int

    @property
    def node_id(self) -> str:
        """Id of the node in the graph."""
        return self.node.id

    @property
    def thread(self) -> str:
        """Name of this piece of work, the same wherever and whenever it goes on."""
        return f"{work_of(self.state, self.frame, self.node)}/{turn_of(self.run)}"

    @property
    def tenant(self) -> str:
        """On whose behalf the run is."""
        return self.state.tenant

    @property
    def depth(self) -> int:
        """How many runs are around the node, from 1."""
        return self.state.depth

    @property
    def memo(self) -> Any:
        """What the node left for itself."""
        return self.run.memo

    @property
    def limits(self) -> ValueLimits:
        """How much the node may give."""
        return self.state.options.limits

    def get(self, selector: Sequence[str]) -> Any | Missing:
        """Read a variable; those of nodes beside this one are missing, in whatever order they run."""
        if selector and self._is_beside(selector[0]):
            return MISSING
        return pool.lookup(self.state, self.frame, selector)

    def _is_beside(self, other: str) -> bool:
        by = self.frame.ready_by.get(self.node.id)
        return by is not None and other != self.node.id and self.frame.ready_by.get(other) == by

    def type_of(self, selector: Sequence[str]) -> ValueType:
        """Declared or inferred type of a variable."""
        return pool.type_of(self.state, self.frame, selector)

    def render(self, template: str) -> str:
        """Fill references, text rendering."""
        return templates.render(template, self.get, MISSING)

    def render_markdown(self, template: str) -> str:
        """Fill references, markdown rendering."""
        return templates.render(template, self.get, MISSING, markdown=True)

    def all_variables(self, scope: str) -> Mapping[str, Any]:
        """All variables of a node or of `sys`, `env`, `conversation`."""
        return pool.variables_of(self.state, self.frame, scope)
