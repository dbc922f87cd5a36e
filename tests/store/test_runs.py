"""What real runs leave in the store: through a client, a server and a worker process."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from store.conftest import HireCrew

from fakes.graphs import code, document, end, node, start, template
from fakes.moments import ask
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_graph.options import ValueLimits
from perdure_store.read import Store
from perdure_store.records import RunRecord
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.settings import WorkerSettings
from perdure_worker.store import own_store

ITEMS = [1, 2, 3, 4, 5]
SQUARE = "def main(x):\n    return {'r': x * x}"


@pytest.fixture(scope="session")
def perdure(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)


def reviewed() -> Graph:
    """start -> ask -> it(square), in windows -> end."""
    return Graph.from_document(
        document(
            [
                start(items="json_object"),
                ask("ask"),
                node(
                    "it",
                    "iteration",
                    start_node_id="its",
                    iterator_selector=["start", "items", "l"],
                    output_selector=["square", "r"],
                ),
                node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
                code("square", SQUARE, {"r": "number"}, "it", x=["it", "item"]),
                end(out=["it", "output"]),
            ],
            [("start", "ask"), ("ask", "go", "it"), ("its", "square"), ("it", "end")],
            name="reviewed",
        )
    )


async def ended(store: Store, run_id: str) -> RunRecord:
    """Wait until the whole log of a run is recorded."""
    async with asyncio.timeout(60):
        while await store.is_complete(run_id) != (True, True):
            await asyncio.sleep(0.1)
    return await store.run(run_id)


async def scopes(store: Store, run_id: str) -> dict[str, list[int]]:
    """Give the numbers of all recorded events, by scope, in the order in which they were recorded."""
    found: dict[str, list[int]] = defaultdict(list)
    for stored in await store.events(run_id, limit=10_000):
        found[stored.scope].append(stored.seq)
    return found


async def scheduled(handle: RunHandle, client: Client) -> Counter[str]:
    """Count the activities in the history of a run, by type."""
    history = await client.temporal.get_workflow_handle(handle.run_id).fetch_history()
    return Counter(
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    )


async def test_a_run_its_windows_and_what_it_asked_are_in_the_store(perdure: Client, stack: EmbeddedStack) -> None:
    flow = reviewed()
    handle = await perdure.start(flow, {"items": {"l": ITEMS}}, user="ann", options=RunOptions(window_items=2))
    async with asyncio.timeout(30):
        while not (await handle.status()).forms:
            await asyncio.sleep(0.05)
    async with Store.open(stack.store_url, wait_s=30) as store:
        async with asyncio.timeout(30):
            while not (open_waits := [wait for wait in await store.waits() if wait.run_id == handle.run_id]):
                await asyncio.sleep(0.05)
        assert [(wait.key, wait.kind, wait.how) for wait in open_waits] == [("ask", "form", None)]
        await handle.submit("ask", "go")
        assert await handle.outputs() == {"out": [1, 4, 9, 16, 25]}
        run = await ended(store, handle.run_id)
        assert (run.status, run.graph, run.graph_hash, run.user) == ("succeeded", "reviewed", flow.hash, "ann")
        assert (run.inputs, run.outputs) == ({"items": {"l": ITEMS}}, {"out": [1, 4, 9, 16, 25]})
        nodes = {(each.scope, each.frame, each.node_id): each for each in await store.nodes(handle.run_id)}
        inside = [("it[0-1]", 0), ("it[0-1]", 1), ("it[2-3]", 2), ("it[2-3]", 3), ("it[4-4]", 4)]
        top = [("", "", name) for name in ("start", "ask", "it", "end")]
        assert set(nodes) == {*top, *((scope, f"it[{item}].", "square") for scope, item in inside)}
        assert {each.status for each in nodes.values()} == {"succeeded"}
        assert nodes["it[2-3]", "it[3].", "square"].outputs == {"r": 16}
        assert [wait.how for wait in await store.waits(handle.run_id, open_only=False)] == ["submitted"]
        numbered = await scopes(store, handle.run_id)
        assert set(numbered) == {"", "it[0-1]", "it[2-3]", "it[4-4]"}
        assert {scope: sorted(numbers) for scope, numbers in numbered.items()} == {
            scope: list(range(1, len(numbers) + 1)) for scope, numbers in numbered.items()
        }
        recorded = [stored.event for stored in await store.events_of_scope(handle.run_id)]
        assert recorded == [event async for event in handle.events()]


async def test_recording_costs_no_activity_per_node(perdure: Client, stack: EmbeddedStack) -> None:
    count = 15
    chain = [code(f"c{n}", SQUARE, {"r": "number"}, x=["start", "x"]) for n in range(count)]
    names = ["start", *(f"c{n}" for n in range(count)), "end"]
    flow = document([start(x="number"), *chain, end(r=["c0", "r"])], list(pairwise(names)))
    handle = await perdure.start(Graph.from_document(flow), {"x": 3})
    assert await handle.outputs() == {"r": 9}
    found = await scheduled(handle, perdure)
    assert found["run_code"] == count
    # One for what the last effect could not carry; a second where the machine was slow in between.
    assert 1 <= found["record_events"] <= 3
    async with Store.open(stack.store_url, wait_s=30) as store:
        assert (await ended(store, handle.run_id)).last_seq == len(await store.events(handle.run_id))


async def test_large_values_of_a_run_are_listed(perdure: Client, stack: EmbeddedStack) -> None:
    big = "def main(x):\n    return {'r': [(i * 7919 + x) % 1000003 for i in range(90_000)]}"
    nodes = [start(x="number"), code("big", big, {"r": "array[number]"}, x=["start", "x"]), end(n=["start", "x"])]
    flow = Graph.from_document(document(nodes, [("start", "big"), ("big", "end")]))
    limits = ValueLimits(list_items=100_000)
    handle = await perdure.start(flow, {"x": 1}, options=RunOptions(limits=limits))
    assert await handle.outputs() == {"n": 1}
    files = {path.name: path for path in Path(stack.blobs).rglob("*") if path.is_file()}
    async with Store.open(stack.store_url, wait_s=30) as store:
        async with asyncio.timeout(20):
            while not (blobs := await store.blobs(handle.run_id)):
                await asyncio.sleep(0.05)
    for blob in blobs:
        assert files[blob.key].stat().st_size == blob.bytes
        assert handle.run_id.replace("-", "") in str(files[blob.key]).replace("-", "").replace("%", "")


async def test_a_fork_says_what_it_comes_from(perdure: Client, stack: EmbeddedStack) -> None:
    nodes = [start(x="number"), code("k", SQUARE, {"r": "number"}, x=["start", "x"])]
    nodes += [template("text", "<{{ v }}>", v=["k", "r"]), end(out=["text", "output"])]
    flow = Graph.from_document(document(nodes, [("start", "k"), ("k", "text"), ("text", "end")]))
    first = await perdure.start(flow, {"x": 3})
    await first.result()
    again = await first.fork("text")
    assert await again.outputs() == {"out": "<9>"}
    async with Store.open(stack.store_url, wait_s=30) as store:
        assert (await ended(store, again.run_id)).forked_from == first.run_id
        assert {each.node_id: each.reused for each in await store.nodes(again.run_id)}["k"] is True


async def test_a_worker_without_a_store_runs_all_the_same(crew: HireCrew) -> None:
    async with crew("off") as own:
        nodes = [start(x="number"), code("k", SQUARE, {"r": "number"}, x=["start", "x"]), end(r=["k", "r"])]
        flow = Graph.from_document(document(nodes, [("start", "k"), ("k", "end")]))
        handle = await own.client.start(flow, {"x": 3})
        assert await handle.outputs() == {"r": 9}
        assert own.store_url == "off"
        # The first answer says so; then nobody asks again.
        assert (await scheduled(handle, own.client))["record_events"] == 0


@pytest.mark.parametrize(
    ("db", "named", "expected"),
    [
        ("runs/temporal.db", None, "sqlite:///{here}/runs/temporal.db.runs.db"),
        (None, "postgresql://u@h/d", "postgresql://u@h/d"),
        ("temporal.db", "off", "off"),
    ],
)
async def test_a_stack_keeps_its_store_beside_its_server(
    tmp_path: Path, db: str | None, named: str | None, expected: str
) -> None:
    async with AsyncExitStack() as cleanup:
        settings = WorkerSettings(address=None, store=named)
        chosen = await own_store(settings, tmp_path / db if db else None, cleanup)
        assert chosen.store == expected.format(here=tmp_path)


async def test_a_stack_in_memory_has_a_store_that_goes_with_it() -> None:
    async with AsyncExitStack() as cleanup:
        chosen = await own_store(WorkerSettings(address=None, store=None), None, cleanup)
        folder = Path((chosen.store or "").removeprefix("sqlite:///")).parent
        assert folder.is_dir()
    assert not folder.exists()


def test_the_store_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_STORE", "postgresql://u:secret@h/d")
    settings: Any = WorkerSettings()
    assert settings.store == "postgresql://u:secret@h/d"
    assert settings.to_env()["PERDURE_STORE"] == settings.store
    assert "secret" not in repr(settings)
