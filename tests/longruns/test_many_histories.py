"""Runs that move to fresh histories because they are large, or very often, lose no event."""

from __future__ import annotations

import asyncio
import random
import string

from replay.golden import counting, until
from temporalio.client import Client as TemporalClient

from fakes.graphs import code, iteration
from perdure import Client, Graph, RunOptions
from perdure_store.read import Store
from perdure_worker.embedded import EmbeddedStack

BLOB_CHARS = 56_000


async def lengths(client: TemporalClient, workflow_id: str) -> list[int]:
    """Number of events of every history of a workflow, newest first."""
    found: list[int] = []
    run_id: str | None = None
    while run_id != "":
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        found.append(len(history.events))
        run_id = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
    return found


async def recorded(stack: EmbeddedStack, run_id: str, count: int) -> list[int]:
    """Numbers of the events that the run store has, once it has so many."""
    async with Store.open(stack.store_url) as store, asyncio.timeout(30):
        while len(found := await store.events_of_scope(run_id, limit=count + 1)) < count:
            await asyncio.sleep(0.1)
    return [stored.seq for stored in found]


async def test_a_history_of_many_bytes_ends_before_it_has_many_events(stack: EmbeddedStack) -> None:
    """Each effect carries a blob that hardly compresses, and is small enough to stay in the history."""
    blob = "".join(random.Random(1).choices(string.ascii_letters + string.digits + "+-*/()&%$!", k=BLOB_CHARS))
    source = "def main(n, b):\n    return {'r': n}"
    inner = [code("k", source, {"r": "number"}, "it", n=["it", "item"], b=["start", "b"])]
    flow = iteration(["start", "items", "l"], inner, [("its", "k")], ["k", "r"], is_parallel=True, parallel_nums=2)
    begin = flow.nodes[0]
    variable = {"variable": "b", "label": "b", "type": "paragraph", "required": True, "max_length": BLOB_CHARS}
    with_blob = begin.model_copy(update={"data": {**begin.data, "variables": [*begin.data["variables"], variable]}})
    graph = Graph.from_document(flow.model_copy(update={"nodes": (with_blob, *flow.nodes[1:])}))
    client = Client(stack.client, stack.task_queue)
    items = list(range(130))
    run = await client.start(graph, {"items": {"l": items}, "b": blob}, options=RunOptions(window_items=1000))
    async with asyncio.timeout(150):
        assert await run.outputs() == {"out": items}
    found = await lengths(stack.client, run.run_id)
    assert len(found) >= 2, "the server suggests a fresh history past 4 MiB"
    assert max(found) < RunOptions().continue_after_events / 2
    count = (await run.status()).seq
    assert [event.seq async for event in run.events()] == list(range(1, count + 1))


async def test_many_histories_keep_every_event(stack: EmbeddedStack) -> None:
    run = await Client(stack.client, stack.task_queue).start(
        counting(60), {}, options=RunOptions(continue_after_events=10)
    )
    await until(run, lambda view: view.forms)
    await run.submit("ask", "go")
    assert await run.outputs() == {"n": 60}
    found = await lengths(stack.client, run.run_id)
    assert len(found) >= 20
    assert max(found) < 60
    count = (await run.status()).seq
    assert [event.seq async for event in run.events()] == list(range(1, count + 1))
    assert await recorded(stack, run.run_id, count) == list(range(1, count + 1))
