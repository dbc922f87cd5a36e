"""The flows whose histories are kept, and what is done to each run: every kind of event that a history can hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

from fakes.graphs import code, document, end, iteration, node, start, template
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_graph.graph import NodeSpec
from perdure_graph.view import RunView

Scenario = Callable[[Client, str], Awaitable[list[RunHandle]]]

ADD = "def main(x):\n    return {'r': x + 1}"
PICKY = "def main(x):\n    if x < 10: raise ValueError('too small')\n    return {'r': x}"
SLOW = "def main(x):\n    n = 0\n    for i in range(40000):\n        n += i\n    return {'r': x * x}"
RETRIES = {"retry_enabled": True, "max_retries": 2, "retry_interval": 50}


def ask(node_id: str, parent: str | None = None) -> NodeSpec:
    """A form with one button and a day's time."""
    return node(
        node_id,
        "human-input",
        parent,
        form_content="Go on?",
        inputs=[],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=1,
        timeout_unit="day",
    )


def call(node_id: str, url: str) -> NodeSpec:
    """A GET request."""
    return node(
        node_id,
        "http-request",
        method="get",
        url=url,
        headers="",
        params="",
        authorization={"type": "no-auth", "config": None},
        body={"type": "none", "data": []},
        timeout={},
    )


def picky(node_id: str, **data: Any) -> NodeSpec:
    """A code node that fails for numbers below ten."""
    made = code(node_id, PICKY, {"r": "number"}, x=["start", "x"])
    return made.model_copy(update={"data": {**made.data, **data}})


def counter(rounds: int) -> list[NodeSpec]:
    """A loop `lo` that adds one per round with code."""
    assign = {"variable_selector": ["lo", "count"], "input_type": "variable", "operation": "over-write"}
    variable = {"label": "count", "var_type": "number", "value_type": "constant", "value": 0}
    return [
        node(
            "lo",
            "loop",
            start_node_id="los",
            loop_count=rounds,
            loop_variables=[variable],
            break_conditions=[],
            logical_operator="and",
        ),
        node("los", "loop-start", "lo", isInLoop=True, loop_id="lo"),
        code("add", ADD, {"r": "number"}, "lo", x=["lo", "count"]),
        node("keep", "assigner", "lo", version="2", items=[{**assign, "value": ["add", "r"]}]),
    ]


def rich(url: str) -> Graph:
    """Code, HTTP and template side by side; a parallel iteration; a loop; a form; a branch."""
    case = {"variable_selector": ["lo", "count"], "comparison_operator": ">", "value": "1"}
    item = [
        code("k", ADD, {"r": "number"}, "it", x=["it", "item"]),
        template("t", "{{ r }}", "it", r=["k", "r"]),
    ]
    options = {"iterator_selector": ["start", "items", "l"], "output_selector": ["t", "output"]}
    nodes = [
        start(x="number", items="json_object"),
        code("first", ADD, {"r": "number"}, x=["start", "x"]),
        call("fetch", url),
        template("say", "{{ x }}", x=["start", "x"]),
        node("it", "iteration", start_node_id="its", is_parallel=True, parallel_nums=2, **options),
        node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
        *item,
        *counter(3),
        ask("ask"),
        node("if", "if-else", cases=[{"case_id": "yes", "logical_operator": "and", "conditions": [case]}]),
        end("many", n=["lo", "count"], items=["it", "output"], said=["say", "output"], body=["fetch", "body"]),
        end("few", n=["lo", "count"]),
    ]
    edges: list[tuple[str, ...]] = [("start", name) for name in ("first", "fetch", "say")]
    edges += [(name, "it") for name in ("first", "fetch", "say")]
    edges += [("its", "k"), ("k", "t"), ("it", "lo"), ("los", "add"), ("add", "keep"), ("lo", "ask")]
    edges += [("ask", "go", "if"), ("if", "yes", "many"), ("if", "false", "few")]
    return Graph.from_document(document(nodes, edges))


def squares(parallel: int) -> Graph:
    """An iteration over slow code."""
    inner = [code("k", SLOW, {"r": "number"}, "it", x=["it", "item"])]
    data = {"is_parallel": True, "parallel_nums": parallel}
    return Graph.from_document(iteration(["start", "items", "l"], inner, [("its", "k")], ["k", "r"], **data))


def counting(rounds: int) -> Graph:
    """Start -> loop -> ask -> end."""
    nodes = [start(), *counter(rounds), ask("ask"), end(n=["lo", "count"])]
    edges: list[tuple[str, ...]] = [("start", "lo"), ("lo", "ask"), ("ask", "go", "end")]
    return Graph.from_document(document(nodes, [*edges, ("los", "add"), ("add", "keep")]))


def line(*between: NodeSpec, **outputs: list[str]) -> Graph:
    """Start -> each node -> end; a form goes on with its button."""
    names = ["start", *(spec.id for spec in between), "end"]
    handles = {spec.id: "go" for spec in between if spec.data["type"] == "human-input"}
    edges = [(a, handles.get(a, "source"), b) for a, b in pairwise(names)]
    return Graph.from_document(document([start(x="number"), *between, end(**outputs)], [*edges]))


async def until(handle: RunHandle, fits: Callable[[RunView], Any]) -> RunView:
    """Wait until the view of a run fits."""
    async with asyncio.timeout(60):
        while not fits(view := await handle.status()):
            await asyncio.sleep(0.02)
    return view


async def everything(client: Client, url: str) -> list[RunHandle]:
    """One node of each kind; paused, its variables set, resumed, its form answered."""
    run = await client.start(rich(url), {"x": 1, "items": {"l": [1, 2, 3, 4, 5]}})
    await run.pause("look")
    await until(run, lambda view: view.status == "paused")
    await run.resume()
    await until(run, lambda view: view.forms)
    await run.pause("again")
    await run.set_variables({"lo": {"count": 7}})
    await run.resume()
    await run.submit("ask", "go")
    assert (await run.outputs())["n"] == 7
    return [run]


async def windows(client: Client, url: str) -> list[RunHandle]:
    """An iteration in child workflows, paused and resumed while they work."""
    run = await client.start(squares(2), {"items": {"l": list(range(30))}}, options=RunOptions(window_items=10))
    await asyncio.sleep(0.5)
    await run.pause("look")
    await until(run, lambda view: view.status == "paused")
    await run.resume()
    assert await run.outputs() == {"out": [n * n for n in range(30)]}
    return [run]


async def stopped(client: Client, url: str) -> list[RunHandle]:
    """Stopped with effects in flight, in child workflows and at a form."""
    options = RunOptions(window_items=20)
    inline = await client.start(squares(4), {"items": {"l": list(range(40))}})
    windowed = await client.start(squares(4), {"items": {"l": list(range(200))}}, options=options)
    waiting = await client.start(line(ask("ask"), x=["start", "x"]), {"x": 1})
    await until(waiting, lambda view: view.forms)
    await asyncio.sleep(0.5)
    runs = [inline, windowed, waiting]
    for run in runs:
        await run.stop("enough")
    return runs


async def moved(client: Client, url: str) -> list[RunHandle]:
    """Several histories; a form and its timer cross into the last."""
    run = await client.start(counting(12), {}, options=RunOptions(continue_after_events=30))
    await until(run, lambda view: view.forms)
    for _ in range(8):
        await run.pause()
        await run.resume()
    await until(run, lambda view: view.forms and view.status == "paused")
    await run.submit("ask", "go")
    assert await run.outputs() == {"n": 12}
    return [run]


async def failing(client: Client, url: str) -> list[RunHandle]:
    """Retries that come to nothing, a default value, a node that is held, mended and retried, a deadline."""
    default = {"error_strategy": "default-value", "default_value": [{"key": "r", "type": "number", "value": "0"}]}
    failed = await client.start(line(picky("p", retry_config=RETRIES), r=["p", "r"]), {"x": 1})
    handled = await client.start(line(picky("p", retry_config=RETRIES, **default), r=["p", "r"]), {"x": 1})
    held = await client.start(line(picky("p"), r=["p", "r"]), {"x": 1}, options=RunOptions(on_failure="wait"))
    late = await client.start(line(ask("ask"), x=["start", "x"]), {"x": 1}, options=RunOptions(deadline_s=1))
    await until(held, lambda view: view.held)
    await held.set_variables({"start": {"x": 11}})
    await held.retry("p")
    assert await held.outputs() == {"r": 11}
    assert (await handled.result()).status == "partial-succeeded"
    assert [(await run.result()).status for run in (failed, late)] == ["failed", "failed"]
    return [failed, handled, held, late]


async def forked(client: Client, url: str) -> list[RunHandle]:
    """A run, and a fork of it that begins in the middle."""
    steps = [code("a", ADD, {"r": "number"}, x=["start", "x"]), code("b", ADD, {"r": "number"}, x=["a", "r"])]
    source = await client.start(line(*steps, r=["b", "r"]), {"x": 1})
    assert await source.outputs() == {"r": 3}
    fork = await source.fork("b", variables={"a": {"r": 10}})
    assert await fork.outputs() == {"r": 11}
    return [source, fork]


SCENARIOS: dict[str, Scenario] = {
    "everything": everything,
    "windows": windows,
    "stopped": stopped,
    "moved": moved,
    "failing": failing,
    "forked": forked,
}
