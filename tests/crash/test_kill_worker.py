"""kill -9 of the worker in the middle of a run: a new worker completes it and repeats nothing that was completed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.graphs import code, document, end, node, start
from fakes.http_server import HttpServer, http_server
from perdure import Client, Graph, RunHandle
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

ITEMS = 24


def flow(url: str) -> Graph:
    """Parse a CSV, then per row: price it (code), book it (HTTP); sum up."""
    parse = "def main(csv):\n    return {'rows': [{'id': int(r)} for r in csv.split(',')]}"
    price = "def main(row):\n    return {'price': row['id'] * 100}"
    total = "def main(bodies):\n    return {'count': len(bodies), 'ok': all('price=' in b for b in bodies)}"
    inner = {"iteration_id": "rows", "isInIteration": True}
    book = node(
        "book",
        "http-request",
        "rows",
        method="post",
        url=url + "?item={{#rows.index#}}",
        headers="",
        params="",
        authorization={"type": "no-auth", "config": None},
        body={"type": "raw-text", "data": [{"key": "", "type": "text", "value": "price={{#price.price#}}"}]},
        timeout={},
        **inner,
    )
    return Graph.from_document(
        document(
            [
                start(csv="paragraph"),
                code("parse", parse, {"rows": "array[object]"}, csv=["start", "csv"]),
                node(
                    "rows",
                    "iteration",
                    start_node_id="begin",
                    iterator_selector=["parse", "rows"],
                    output_selector=["book", "body"],
                    is_parallel=True,
                    parallel_nums=4,
                ),
                node("begin", "iteration-start", "rows", **inner),
                code("price", price, {"price": "number"}, "rows", row=["rows", "item"]),
                book,
                code("total", total, {"count": "number", "ok": "boolean"}, bodies=["rows", "output"]),
                end(count=["total", "count"], ok=["total", "ok"]),
            ],
            [
                ("start", "parse"),
                ("parse", "rows"),
                ("rows", "total"),
                ("total", "end"),
                ("begin", "price"),
                ("price", "book"),
            ],
        )
    )


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async with http_server() as server:
        yield server


def booked(target: HttpServer) -> Counter[int]:
    """How often each item was booked."""
    return Counter(int(request.target.rpartition("=")[2]) for request in target.requests)


async def completed(stack: EmbeddedStack, run_id: str) -> set[str]:
    """Ids of the activities whose completion is in the history."""
    history = await stack.client.get_workflow_handle(run_id).fetch_history()
    names = {
        event.event_id: event.activity_task_scheduled_event_attributes.activity_id
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    }
    return {
        names[event.activity_task_completed_event_attributes.scheduled_event_id]
        for event in history.events
        if event.HasField("activity_task_completed_event_attributes")
    }


@pytest.mark.crash
async def test_a_killed_worker_costs_nothing_that_was_done(target: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
    settings = WorkerSettings(address=None, db=None, ui_port=None, task_queue="crash")
    async with embedded(settings) as stack:
        client = Client(stack.client, stack.task_queue)
        handle: RunHandle = await client.start(flow(target.url("/echo")), {"csv": ",".join(map(str, range(ITEMS)))})
        async with asyncio.timeout(30):
            while len(target.requests) < ITEMS // 3:
                await asyncio.sleep(0.005)
        await stack.kill_worker()
        done = await completed(stack, handle.run_id)
        before = booked(target)
        assert 0 < len(before) < ITEMS, "the kill must hit the middle of the run"
        await stack.restart_worker()
        async with asyncio.timeout(90):
            outputs = await handle.outputs()
        assert outputs == {"count": ITEMS, "ok": True}
        after = booked(target)
        assert set(after) == set(range(ITEMS))
        finished = {int(key.split("[")[1].split("]")[0]) for key in done if key.endswith("book")}
        assert all(after[item] == 1 for item in finished), "a completed step ran again"
        in_flight = set(before) - finished
        assert {item for item, count in after.items() if count > 1} <= in_flight
        again = [key for key in await completed(stack, handle.run_id) if not key.startswith("!")]
        assert len(again) == 2 + 2 * ITEMS, "each code and HTTP step completed exactly once"
        numbers = [event.seq async for event in handle.events()]
        assert numbers == list(range(1, len(numbers) + 1))


EXAMPLE = Path(__file__).parents[2] / "examples" / "order-batch"


@pytest.mark.crash
async def test_the_order_batch_survives_a_kill_in_its_iteration() -> None:
    inputs = {"orders_csv": (EXAMPLE / "orders.csv").read_text(), "order_limit": 10_000}
    graph = Graph.load(EXAMPLE / "flow.yml")
    settings = WorkerSettings(address=None, db=None, ui_port=None, task_queue="crash-orders")
    async with embedded(settings) as stack:
        client = Client(stack.client, stack.task_queue)
        undisturbed = await (await client.start(graph, inputs)).outputs()
        handle = await client.start(graph, inputs)
        async with asyncio.timeout(30):
            async for event in handle.events():
                if event.type == "iteration_next" and event.index >= 8:
                    break
        await stack.kill_worker()
        before = await completed(stack, handle.run_id)
        assert before, "the kill must hit the middle of the run"
        await stack.restart_worker()
        async with asyncio.timeout(90):
            assert await handle.outputs() == undisturbed
        history = await stack.client.get_workflow_handle(handle.run_id).fetch_history()
        scheduled = [
            event.activity_task_scheduled_event_attributes.activity_id
            for event in history.events
            if event.HasField("activity_task_scheduled_event_attributes")
        ]
        assert len(scheduled) == len(set(scheduled)), "an effect was asked for twice"
        assert before < await completed(stack, handle.run_id)
