"""What the recorded events of a run tell of it, for a fork of a run that its server has forgotten.

Less than the run itself would (`outcomes`): the graph is not among the events, values that were too large were cut,
and of an iteration only its whole output is known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InvalidInputs, PlatformError
from .events import (
    ContainerCompleted,
    ContainerNext,
    ContainerStarted,
    Event,
    NodeFinished,
    NodeRetry,
    NodeStarted,
    RunFinished,
    RunStarted,
    VariablesSet,
    VariableUpdated,
    WindowFinished,
)
from .graph import Graph, Node
from .outcomes import Outcomes, inside, top_of
from .request import Reused, RunRequest, Said, Written
from .sizes import was_cut

_INDEX = re.compile(r"\[(\d+)\]")


def recorded(run_id: str, graph: Graph | None, events: Sequence[Event]) -> Outcomes:
    """Say how the nodes of a run ended, from all its events.

    graph: the one that the run ran.

    Raises:
        InvalidInputs: the graph is missing or another one, or something the caller gave the run is not recorded whole.
        PlatformError: events are missing.
    """
    begun = _check_events(run_id, events)
    if graph is None or graph.hash != begun.graph_hash:
        wrong = "the one given is another." if graph is not None else "none was given."
        raise InvalidInputs(
            f"run {run_id!r} is no longer on the server, and the run store keeps no graphs: give the flow "
            f"{begun.graph!r} just as the run ran it (`graph`, --flow; hash {begun.graph_hash[:12]}); {wrong} To "
            "go on with a changed flow, fork with the old one first, then fork that run.",
            field="graph",
        )
    for name, value in begun.asked.items():
        if was_cut(value):
            text = (
                f"run {run_id!r} cannot be forked from the run store: its {name!r} is too large to be recorded whole."
            )
            raise InvalidInputs(f"{text} Start it anew.", field=name)
    request = RunRequest.model_validate(begun.asked | {"graph": graph.document, "inputs": begun.inputs})
    reading = _Reading(graph)
    for event in events:
        reading.take(event)
    end = next((event for event in reversed(events) if isinstance(event, RunFinished)), None)
    failed = graph.nodes.get(end.node_id) if end is not None and end.status == "failed" else None
    return Outcomes(
        run_id=run_id,
        status=end.status if end is not None else "running",
        graph=graph.document,
        graph_hash=graph.hash,
        asked=request.asked().model_copy(update={"user": begun.user, "tenant": begun.tenant}),
        pins=request.pins,
        options=request.options,
        system={},
        nodes={node_id: reading.reused(node_id) for node_id in reading.ends},
        order=list(reading.ends),
        failed=top_of(graph, failed).id if failed is not None else None,
        unfinished=[node_id for node_id in reading.begun if node_id not in reading.ends],
        from_store=True,
        lost=reading.lost | _cut_inputs(graph, begun),
    )


def _check_events(run_id: str, events: Sequence[Event]) -> RunStarted:
    missing = next((number for number, event in enumerate(events, 1) if event.seq != number), None)
    if missing is None and events and isinstance(events[0], RunStarted):
        return events[0]
    what = f"event {missing or 1} of run {run_id!r} is not in the run store"
    raise PlatformError(f"{what}, and the server has forgotten the run: it cannot be forked any more. Start it anew.")


def _cut_inputs(graph: Graph, begun: RunStarted) -> dict[str, list[str]]:
    names = [name for name, value in begun.inputs.items() if was_cut(value)]
    return {graph.root: names} if names else {}


class _Reading:
    """What is known after some events; of nodes those of the top frame.

    ends: the good ends, in their order. writes: by node and selector. lost: what of a node is not known whole.
    left: outputs of nodes in loops, which those after the loop read. first: the first item of iterations that ran.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.begun: dict[str, None] = {}
        self.ends: dict[str, Reused] = {}
        self.lost: dict[str, list[str]] = {}
        self.writes: dict[str, dict[tuple[str, str], Written]] = {}
        self.said: dict[str, list[Said]] = {}
        self.exceptions: dict[str, int] = {}
        self.left: dict[str, dict[str, Any]] = {}
        self.first: dict[str, int] = {}

    def take(self, event: Event) -> None:
        """Learn from the next event."""
        match event:
            case VariablesSet():
                self._set(event.variables)
            case NodeStarted() | ContainerStarted() | ContainerNext():
                self._begin(event)
            case NodeRetry():
                self._count(event.node_id, 1)
            case WindowFinished():
                self._count(event.node_id, event.exceptions)
            case VariableUpdated():
                self._write(event)
            case NodeFinished() | ContainerCompleted() if event.frame:
                self._end_inside(event)
            case NodeFinished() | ContainerCompleted():
                self._end(event)
            case _:
                pass

    def _begin(self, event: NodeStarted | ContainerStarted | ContainerNext) -> None:
        node = self.graph.nodes[event.node_id]
        if node.type.name == "loop" and self._shares(node):
            for member in self.graph.loop_members.get(node.id, ()):
                self.left.pop(member, None)
        if event.frame:
            return
        self.begun[node.id] = None
        if isinstance(event, NodeStarted):
            self.writes.pop(node.id, None)
        elif event.type == "iteration_next":
            self.first.setdefault(node.id, event.index)

    def _end(self, event: NodeFinished | ContainerCompleted) -> None:
        node = self.graph.nodes[event.node_id]
        if event.status != "succeeded":
            self._count(node.id, 1)
        self.begun[node.id] = None
        self.ends.pop(node.id, None)
        self.lost.pop(node.id, None)
        if event.status == "failed":
            return
        handle = None
        if isinstance(event, NodeFinished):
            handle = event.handle
        elif node.is_branch:
            handle = "source" if event.status == "succeeded" else "fail-branch"
        self.ends[node.id] = Reused(outputs=event.outputs, handle=handle, status=event.status)
        values = [(name, value) for name, value in event.outputs.items()]
        values += [(".".join(one.selector), one.value) for one in self._writes(node.id)]
        lost = [name for name, value in values if was_cut(value)]
        if node.type.role == "container" and not self._knows_inside(node, event):
            lost.append("what the nodes inside left")
        if lost:
            self.lost[node.id] = lost

    def _knows_inside(self, container: Node, event: NodeFinished | ContainerCompleted) -> bool:
        """Whether all that the nodes in a container leave to those after it is among the events."""
        taken_over = isinstance(event, NodeFinished)
        if container.type.name == "loop":
            return event.status == "succeeded" and not taken_over
        if not taken_over and not self.first.get(container.id):
            return True
        return all(self.graph.nodes[name].type.role != "response" for name in inside(self.graph, container.id))

    def _end_inside(self, event: NodeFinished | ContainerCompleted) -> None:
        node = self.graph.nodes[event.node_id]
        if event.status != "succeeded":
            self._count(node.id, 1)
        if event.status != "failed" and self._shares(node):
            self.left[node.id] = event.outputs
        if event.status != "succeeded" or node.type.role != "response":
            return
        is_answer, index = node.type.name == "answer", _INDEX.search(event.frame)
        said = Said(
            node_id=node.id,
            frame=event.frame,
            index=int(index[1]) if index else 0,
            text=str(event.outputs.get("answer", "")) if is_answer else None,
            files=tuple(event.outputs.get("files") or ()) if is_answer else (),
            outputs={} if is_answer else event.outputs,
        )
        self.said.setdefault(top_of(self.graph, node).id, []).append(said)

    def _write(self, event: VariableUpdated) -> None:
        node, target = self.graph.nodes[event.node_id], self.graph.nodes.get(event.selector[0])
        outlives = self._shares(node) and (target is None or target.type.role != "container")
        if not event.frame or event.selector[0] == "conversation" or outlives:
            writes = self.writes.setdefault(top_of(self.graph, node).id, {})
            writes.pop(event.selector, None)
            writes[event.selector] = Written(selector=event.selector, value=event.value)

    def _set(self, variables: Mapping[str, Mapping[str, Any]]) -> None:
        if self.ends:
            last = next(reversed(self.ends))
            for name, value in variables.get("conversation", {}).items():
                selector = ("conversation", name)
                self.writes.setdefault(last, {})[selector] = Written(selector=selector, value=value)
                if was_cut(value):
                    self.lost.setdefault(last, []).append(".".join(selector))
        for node_id, values in variables.items():
            known = self.ends.get(node_id)
            if known is None:
                continue
            self.ends[node_id] = known.model_copy(update={"outputs": known.outputs | dict(values)})
            lost = [name for name in self.lost.pop(node_id, ()) if name not in values]
            lost += [name for name, value in values.items() if was_cut(value)]
            if lost:
                self.lost[node_id] = lost

    def _count(self, node_id: str, failed: int) -> None:
        top = top_of(self.graph, self.graph.nodes[node_id]).id
        self.exceptions[top] = self.exceptions.get(top, 0) + failed

    def _shares(self, node: Node) -> bool:
        """Whether only loops are around a node, if any: it puts its outputs where all of the run reads them."""
        parent = node.parent
        while parent is not None and self.graph.nodes[parent].type.name == "loop":
            parent = self.graph.nodes[parent].parent
        return parent is None

    def _writes(self, node_id: str) -> tuple[Written, ...]:
        writes = dict(self.writes.get(node_id, {}))
        if self.graph.nodes[node_id].type.name == "loop":
            for member in inside(self.graph, node_id):
                for name, value in self.left.get(member, {}).items():
                    writes[member, name] = Written(selector=(member, name), value=value)
        return tuple(writes.values())

    def reused(self, node_id: str) -> Reused:
        """Sum up how a node ended."""
        said = tuple(self.said.get(node_id, ()))
        update = {"writes": self._writes(node_id), "said": said, "exceptions": self.exceptions.get(node_id, 0)}
        return self.ends[node_id].model_copy(update=update)
