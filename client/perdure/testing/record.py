"""Turn a run into a regression case: what `perdure test --from-run` does.

What the outside world answered in the run is pinned, people's answers are given again, code and templates run for
real; expected is what came of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, cast

from perdure.diff import Step, steps_of
from perdure.handle import RunHandle
from perdure_graph.effects import RenderTemplate, RunCode
from perdure_graph.errors import InvalidInputs
from perdure_graph.events import Event, NodeFinished, NodeRetry
from perdure_graph.graph import Graph, Node, graph_of
from perdure_graph.nodes.human_input import TIMEOUT
from perdure_graph.outcomes import Outcomes, inside
from perdure_graph.request import RunResult
from perdure_graph.values import ValueType

MAX_EXPECTED_BYTES = 50_000
# Effects that give the same on every machine: these nodes run for real.
_REPEATABLE = frozenset({RenderTemplate.activity, RunCode.activity})
_MASK = "********"
_REPEATABLE_ENDS = ("succeeded", "partial-succeeded", "failed")


@dataclass
class Recording:
    """A case made from a run, as it stands in the file. `notes` say what is not repeated as it was."""

    graph: Graph
    case: dict[str, Any]
    notes: list[str] = field(default_factory=list[str])


async def record_case(handle: RunHandle) -> Recording:
    """Make a case of a run that has ended.

    Raises:
        InvalidInputs: the run has not ended, or its end does not follow from its graph and inputs.
    """
    told = await handle.outcomes()
    if told.status not in _REPEATABLE_ENDS:
        step = "Wait for its end." if told.status in ("running", "pausing", "paused") else "Choose one that ended."
        text = f"run {handle.run_id!r} is {told.status}: no case can be made of it. {step}"
        raise InvalidInputs(text, field="from-run")
    result = await handle.result()
    cause = result.error
    if cause is not None and (not cause.node or told.failed is None or cause.type == "MaxStepsExceeded"):
        text = f"run {handle.run_id!r} was ended by no node ({cause.message}): a case would not repeat that."
        raise InvalidInputs(text, field="from-run")
    return make_case(told, result, [event async for event in handle.events(live=False)])


def make_case(told: Outcomes, result: RunResult, events: list[Event]) -> Recording:
    """Make a case of how the nodes of a run ended."""
    graph = graph_of(told.graph)
    recorder = _Recorder(graph, told, events)
    mocks, human = recorder.mocks()
    asked = told.asked
    case: dict[str, Any] = {
        "name": told.run_id,
        "inputs": asked.inputs,
        "query": asked.query,
        "conversation": asked.conversation,
        "sysvars": _system(graph, told),
        "mocks": mocks,
        "human": human,
        "expect": {
            "status": result.status,
            "outputs": None if result.status == "failed" else result.outputs,
            "exceptions_count": result.exceptions_count,
            "conversation": result.conversation,
            "nodes": recorder.expected(mocks),
        },
    }
    case["expect"] = {name: value for name, value in case["expect"].items() if value not in (None, {})}
    kept = {name: value for name, value in case.items() if value not in (None, {})}
    secrets = [v.value for v in graph.document.environment if v.value_type is ValueType.SECRET and v.value]
    return Recording(graph, _masked(kept, [str(secret) for secret in secrets]), recorder.notes)


def _masked(value: Any, secrets: list[str]) -> Any:
    """Take secrets out of what was recorded: the outside may have repeated what it was sent."""
    if isinstance(value, dict):
        return {name: _masked(item, secrets) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_masked(item, secrets) for item in cast("list[Any]", value)]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, _MASK)
    return value


def _system(graph: Graph, told: Outcomes) -> dict[str, Any]:
    """Give the variables of `sys` that the caller set or the graph names: a new run would have its own."""
    text = json.dumps([spec.data for spec in graph.document.nodes])
    named = {
        name: value
        for name, value in told.system.items()
        if name not in ("query", "files") and re.search(rf'sys(\.|", "){re.escape(name)}\b', text)
    }
    files = {"files": told.asked.files} if told.asked.files else {}
    return {**named, **files, **told.asked.sysvars}


class _Recorder:
    def __init__(self, graph: Graph, told: Outcomes, events: list[Event]) -> None:
        self.graph = graph
        self.told = told
        self.notes: list[str] = []
        self.steps = {step.key: step for step in steps_of(graph, told, events)}
        ends = [event for event in events if isinstance(event, NodeFinished)]
        self.errors = {event.frame + event.node_id: (event.error, event.error_type) for event in ends if event.error}
        for event in events:
            if isinstance(event, NodeRetry):
                self.errors.setdefault(event.frame + event.node_id, (event.error, event.error_type))

    def mocks(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Give what pinned nodes answer and how forms are answered."""
        mocks: dict[str, Any] = {
            name: pin.model_dump(mode="json", exclude_defaults=True) for name, pin in self.told.pins.items()
        }
        human: dict[str, Any] = {}
        for node in self.graph.nodes.values():
            if node.parent is not None or node.id in self.told.pins:
                continue
            if node.type.role == "container":
                mocks.update(self._inside(node))
            elif (step := self.steps.get(node.id)) is not None and self._is_outside(node):
                if node.type.name == "human-input" and step.status == "succeeded" and step.handle != TIMEOUT:
                    fields = {name: value for name, value in step.outputs.items() if not name.startswith("__")}
                    human[node.id] = {"handle": step.handle, "outputs": fields}
                else:
                    mocks[node.id] = self._mock(node, step)
        return mocks, human

    def _is_outside(self, node: Node) -> bool:
        """Whether a node asks the outside world, or a person."""
        return node.type.waits or any(effect.activity not in _REPEATABLE for effect in node.type.effects)

    def _inside(self, container: Node) -> dict[str, Any]:
        """Pin what nodes in a container asked the outside: by node, and by item where items got other answers."""
        members = [self.graph.nodes[name] for name in inside(self.graph, container.id)]
        outside = [node for node in members if self._is_outside(node) and node.id not in self.told.pins]
        step = self.steps.get(container.id)
        if not outside or step is None:
            return {}
        by_node = {node.id: [s for s in self.steps.values() if s.node_id == node.id and s.frame] for node in outside}
        steps = [one for found in by_node.values() for one in found]
        if step.reused or not self._is_complete(container) or any(_is_cut(one.outputs) for one in steps):
            self.notes.append(
                f"node {container.id!r} is pinned as a whole: what the nodes inside it did is not in the run's own "
                "events."
            )
            return {container.id: self._mock(container, step)}
        found: dict[str, Any] = {}
        for node in outside:
            for one in by_node[node.id]:
                mock = self._mock(node, one)
                if found.setdefault(node.id, mock) != mock:
                    found[one.key] = mock
        return found

    def _is_complete(self, container: Node) -> bool:
        """Whether the steps hold every pass through a container."""
        known = self.told.nodes.get(container.id)
        frames = {_top_index(step.frame) for step in self.steps.values() if step.frame.startswith(f"{container.id}[")}
        if container.type.name == "loop" or known is None:
            return bool(frames)
        listed = known.outputs.get("output")
        count = len(known.results) if known.results is not None else len(cast("list[Any]", listed or []))
        return len(frames) >= count

    def _mock(self, node: Node, step: Step) -> dict[str, Any]:
        """Write what a node answered as a pin; failed attempts before that fail again."""
        error, error_type = self.errors.get(step.key, (None, None))
        if step.status != "succeeded":
            message = error or str(step.outputs.get("error_message") or "failed")
            return {"error": message, "error_type": error_type or str(step.outputs.get("error_type") or "Error")}
        mock: dict[str, Any] = {"outputs": step.outputs}
        if node.is_branch and step.handle is not None and node.type.role == "branch":
            mock["handle"] = step.handle
        known = self.told.nodes.get(step.key)
        failed = step.attempts - 1 if step.attempts is not None else known.exceptions if known else 0
        if failed and node.type.retries:
            mock |= {"error": error or "failed", "error_type": error_type or "Error", "fail_times": failed}
        return mock

    def expected(self, mocks: Iterable[str]) -> dict[str, Any]:
        """Say how nodes of the top frame must end: those pinned by status, the others also by what they put out."""
        pinned = set(mocks)
        failed = self.told.failed if self.told.status == "failed" else None
        found: dict[str, Any] = {}
        for node in self.graph.nodes.values():
            step = self.steps.get(node.id)
            # Beside a node that ends the run it is a matter of timing what else has ended.
            if node.parent is not None or (failed is not None and failed not in self.graph.reachable(node.id)):
                continue
            if node.id in self.told.skipped:
                found[node.id] = {"status": "skipped"}
            elif step is not None:
                expect: dict[str, Any] = {"status": step.status}
                if node.is_branch and not step.container and step.handle is not None:
                    expect["handle"] = step.handle
                shown = node.type.role not in ("root", "response") and not (
                    {node.id, f"type:{node.type.name}"} & pinned
                )
                if shown and step.status == "succeeded" and len(json.dumps(step.outputs)) <= MAX_EXPECTED_BYTES:
                    expect["outputs"] = step.outputs
                found[node.id] = expect
        return found


def _top_index(frame: str) -> str:
    return frame.partition("]")[0]


def _is_cut(outputs: dict[str, Any]) -> bool:
    """Whether an event left its values out because they are too large to show."""
    return "truncated" in outputs
