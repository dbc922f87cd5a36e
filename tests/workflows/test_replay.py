"""What a run did can be replayed, whatever was asked of it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowHistory

from fakes.graphs import code, document, end, iteration, node, start, template
from perdure import Client, Graph, RunHandle
from perdure_graph.graph import Document
from perdure_graph.request import ENDED
from perdure_payloads import data_converter
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.replay import replay

SQUARE = "def main(x):\n    return {'r': x * x}"


def items() -> Document:
    inner = [
        code("k", SQUARE, {"r": "number"}, "it", x=["it", "item"]),
        template("t", "{{ r | int }}", "it", r=["k", "r"]),
    ]
    edges: list[tuple[str, ...]] = [("its", "k"), ("k", "t")]
    return iteration(["start", "items", "l"], inner, edges, ["t", "output"], is_parallel=True, parallel_nums=4)


def waits() -> Document:
    ask = node(
        "ask",
        "human-input",
        form_content="ok?",
        inputs=[],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=1,
        timeout_unit="day",
    )
    nodes = [
        start(items="json_object"),
        ask,
        template("a", "{{ 1 + 1 }}"),
        template("b", "{{ 2 + 2 }}"),
        end(a=["a", "output"]),
    ]
    return document(nodes, [("start", "ask"), ("ask", "go", "a"), ("ask", "go", "b"), ("a", "end"), ("b", "end")])


async def poll(handle: RunHandle) -> None:
    while (await handle.status()).status not in ENDED:
        await asyncio.sleep(0.001)


async def answer(handle: RunHandle) -> None:
    while not (await handle.status()).forms:
        await asyncio.sleep(0.01)
    await handle.submit("ask", "go")


async def errors(client: Client, handles: list[RunHandle]) -> list[str | None]:
    """Replay runs in the sandbox of a worker; why it failed, for each."""

    async def histories() -> AsyncIterator[WorkflowHistory]:
        for handle in handles:
            yield await client.temporal.get_workflow_handle(handle.run_id).fetch_history()

    return [replayed.error async for replayed in replay(histories(), data_converter())]


@pytest.mark.parametrize("flow", [items, waits])
async def test_queries_leave_histories_replayable(stack: EmbeddedStack, flow: Any) -> None:
    client = Client(stack.client, stack.task_queue)
    graph = Graph.from_document(flow())
    handles = [await client.start(graph, {"items": {"l": list(range(12))}}) for _ in range(3)]
    async with asyncio.TaskGroup() as tasks:
        for handle in handles:
            for _ in range(3):
                tasks.create_task(poll(handle))
            if flow is waits:
                tasks.create_task(answer(handle))
    for handle in handles:
        assert (await handle.result()).status == "succeeded"
    assert await errors(client, handles) == [None] * 3


async def test_a_stop_at_any_moment_stops_and_replays(stack: EmbeddedStack) -> None:
    client = Client(stack.client, stack.task_queue)
    graph = Graph.from_document(items())
    handles: list[RunHandle] = []
    for moment in range(12):
        handle = await client.start(graph, {"items": {"l": list(range(40))}})
        await asyncio.sleep(moment * 0.004)
        assert (await handle.stop()).status == "stopped"
        result = await handle.result()
        assert (result.status, result.outputs) == ("stopped", {})
        handles.append(handle)
    assert await errors(client, handles) == [None] * 12
