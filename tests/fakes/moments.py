"""Runs in memory at the moments that docs/commands.md names, for tests of commands."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from perdure_graph.commands import Begin, Drain, EffectFailed, Pause, Stop
from perdure_graph.effects import CodeResult, Effect, Reply, RunCode
from perdure_graph.errors import NodeError
from perdure_graph.graph import Document, Graph, NodeSpec
from perdure_graph.request import Pin, RunOptions, RunRequest

from .driver import Driver
from .graphs import code, document, end, iteration, node, start

RETRIES = {"retry_enabled": True, "max_retries": 1, "retry_interval": 1000}


def ask(node_id: str, parent: str | None = None) -> NodeSpec:
    actions = [{"id": "go", "title": "Go"}, {"id": "no", "title": "No"}]
    return node(node_id, "human-input", parent, form_content="?", user_actions=actions, timeout=2, timeout_unit="hour")


def worker(node_id: str, source: list[str], parent: str | None = None, **data: Any) -> NodeSpec:
    """A code node that adds one; what it answers is the performer's."""
    spec = code(node_id, "", {"r": "number"}, parent, x=source)
    return spec.model_copy(update={"data": spec.data | data})


def line(*between: NodeSpec, **more: Any) -> Document:
    """start -> each node in turn -> end."""
    ids = ["start", *(spec.id for spec in between), "end"]
    nodes = [start(n="number", items="json_object"), *between, end(out=[between[-1].id, "r"])]
    return document(nodes, list(pairwise(ids)), **more)


def items(inner: NodeSpec, edges: list[tuple[str, ...]], **data: Any) -> Document:
    return iteration(["start", "items", "l"], [inner], edges, [inner.id, "r"], **data)


def loop(inner: NodeSpec, rounds: int = 2) -> Document:
    """A loop around a node."""
    hidden = node("ls", "loop-start", "loop", loop_id="loop", isInLoop=True)
    inner = inner.model_copy(update={"parent": "loop", "data": inner.data | {"loop_id": "loop", "isInLoop": True}})
    around = node("loop", "loop", start_node_id="ls", loop_count=rounds, loop_variables=[], break_conditions=[])
    return document(
        [start(n="number"), around, hidden, inner, end(out=["loop", "loop_round"])],
        [("start", "loop"), ("loop", "end"), ("ls", inner.id)],
    )


class Adds:
    """Answers `x + 1`; the first `failures` times it fails."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures

    def __call__(self, effect: Effect) -> Reply:
        assert isinstance(effect, RunCode)
        if self.failures:
            self.failures -= 1
            raise NodeError("no luck", "Luck")
        value: Any = effect.inputs["x"]
        return CodeResult(result={"r": value + 1}, engine="monty")


def driver(flow: Document, failures: int = 0, pins: dict[str, Pin] | None = None, **options: Any) -> Driver:
    inputs: dict[str, Any] = {"n": 1, "items": {"l": [1, 2, 3]}}
    request = RunRequest(graph=flow, inputs=inputs, pins=pins or {}, options=RunOptions(**options))
    return Driver(Graph.from_document(flow), request, performer=Adds(failures), round_trip=True)


def _begun(flow: Document, ticks: int = 0, failures: int = 0, **options: Any) -> Driver:
    run = driver(flow, failures, **options)
    run.send(Begin())
    for _ in range(ticks):
        run.tick()
    return run


def _then(run: Driver, *inputs: Any, ticks: int = 0) -> Driver:
    for happened in inputs:
        run.send(happened)
    for _ in range(ticks):
        run.tick()
    return run


def _k(**data: Any) -> NodeSpec:
    return worker("k", ["start", "n"], **data)


def _in_items(**data: Any) -> Document:
    return items(worker("k", ["it", "item"], "it"), [("its", "k")], **data)


def _form_in_items() -> Document:
    return items(ask("ask", "it"), [("its", "ask")])


def _form() -> Document:
    return document([start(n="number"), ask("ask"), end(out=["start", "n"])], [("start", "ask"), ("ask", "go", "end")])


def _approval() -> Document:
    """The node type is that of `graph.turning`: whoever takes these moments registers it."""
    call = node("agent", "turning", first=["f:1"])
    return document([start(n="number"), call, end(out=["start", "n"])], [("start", "agent"), ("agent", "end")])


def _interrupted() -> Driver:
    run = _begun(line(_k(perdure={"retry": "never"}, retry_config=RETRIES)))
    del run.pending["k"]
    return _then(run, EffectFailed("k", "timed out", "EffectTimeout", interrupted=True))


MOMENTS: dict[str, Callable[[], Driver]] = {
    "before the start": lambda: driver(line(_k())),
    "a node runs": lambda: _begun(line(_k(), worker("after", ["k", "r"]))),
    "pausing": lambda: _then(_begun(line(_k(), worker("after", ["k", "r"]))), Pause(reason="look")),
    "paused": lambda: _then(_begun(line(_k(), worker("after", ["k", "r"]))), Pause(reason="look"), ticks=1),
    "waits for a form": lambda: _begun(_form()),
    "paused, with a form open": lambda: _then(_begun(_form()), Pause(reason="look")),
    "a form in an item of an iteration": lambda: _begun(_form_in_items()),
    "a node is held": lambda: _begun(line(_k()), 1, failures=1, on_failure="wait"),
    "a node is held, interrupted": _interrupted,
    "paused, with a node held": lambda: _then(
        _begun(line(_k()), 1, failures=1, on_failure="wait"), Pause(reason="look")
    ),
    "a node is held in an item": lambda: _begun(_in_items(), 1, failures=1, on_failure="wait"),
    "a node is held in a loop": lambda: _begun(loop(worker("k", ["start", "n"])), 1, failures=1, on_failure="wait"),
    "between two attempts": lambda: _begun(line(_k(retry_config=RETRIES)), 1, failures=1),
    "paused between two attempts": lambda: _then(
        _begun(line(_k(retry_config=RETRIES)), 1, failures=1), Pause(reason="look")
    ),
    "in an item of an iteration": lambda: _begun(_in_items(), 1),
    "in a round of a loop": lambda: _begun(loop(worker("k", ["start", "n"])), 1),
    "in the windows of a large iteration": lambda: _begun(_in_items(), 1, window_items=1),
    "moving to a fresh history": lambda: _then(_begun(line(_k(), worker("after", ["k", "r"]))), Drain()),
    "a call waits for approval": lambda: _begun(_approval()),
    "paused, with a call that waits": lambda: _then(_begun(_approval()), Pause(reason="look")),
    "after the end": lambda: _begun(line(_k()), 1),
    "after a stop": lambda: _then(_begun(line(_k())), Stop(reason="enough")),
}
