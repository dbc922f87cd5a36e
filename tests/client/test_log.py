"""Events from any point: those a long run keeps no more, those of windows, those of runs the server has forgotten."""

from __future__ import annotations

import asyncio

import pytest
from client.conftest import Outside
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest

from fakes.graphs import code, document, end, iteration, node, start
from perdure import Client, Graph, PlatformError, RunHandle, RunNotFound, RunOptions
from perdure_graph import naming
from perdure_graph.view import EventPage
from perdure_worker.embedded import EmbeddedStack

pytestmark = pytest.mark.xdist_group("forgotten")

ITEMS = list(range(30))
LONG = RunOptions(window_items=1000)
WINDOWS = RunOptions(window_items=10)


def squares() -> Graph:
    inner = code("k", "def main(x):\n    return {'r': x * x}", {"r": "number"}, "it", x=["it", "item"])
    return Graph.from_document(iteration(["start", "items", "l"], [inner], [("its", "k")], ["k", "r"]))


def long() -> Graph:
    """Many events in no time, from an iteration that needs no effects; then one effect, which carries some of them."""
    nodes = [
        start(items="json_object"),
        node(
            "it",
            "iteration",
            start_node_id="its",
            iterator_selector=["start", "items", "l"],
            output_selector=["k", "output"],
        ),
        node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
        node("k", "variable-aggregator", "it", variables=[["it", "item"]], output_type="number"),
        code("count", "def main(xs):\n    return {'n': len(xs)}", {"n": "number"}, xs=["it", "output"]),
        end(n=["count", "n"]),
    ]
    edges = [("start", "it"), ("it", "count"), ("count", "end"), ("its", "k")]
    return Graph.from_document(document(nodes, edges))


async def forgotten(client: Client, handle: RunHandle) -> None:
    """Delete a run from the server, as the end of its retention does."""
    execution = WorkflowExecution(workflow_id=handle.run_id)
    request = DeleteWorkflowExecutionRequest(namespace=client.temporal.namespace, workflow_execution=execution)
    await client.temporal.workflow_service.delete_workflow_execution(request)
    async with asyncio.timeout(90):
        while True:
            try:
                await handle.status()
            except RunNotFound:
                return
            await asyncio.sleep(0.2)


async def finished(client: Client, graph: Graph, items: list[int], options: RunOptions | None = None) -> RunHandle:
    handle = await client.start(graph, {"items": {"l": items}}, options=options)
    assert (await handle.result()).status == "succeeded"
    return handle


async def trimmed(client: Client) -> RunHandle:
    """Give a finished run that keeps only its last events. A store that was slow gives it no chance, so try again."""
    async with asyncio.timeout(90):
        while True:
            handle = await finished(client, long(), list(range(400)), LONG)
            workflow = client.temporal.get_workflow_handle(handle.run_id)
            kept: EventPage = await workflow.query(naming.EVENTS, 0, result_type=EventPage)
            if kept.first > 1:
                return handle


async def test_events_of_a_long_run_are_read_from_where_they_are(stack: EmbeddedStack) -> None:
    handle = await trimmed(Client(stack.client, stack.task_queue, store=stack.store_url))
    events = [event async for event in handle.events()]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (events[0].type, events[-1].type) == ("run_started", "run_finished")
    assert [event.seq async for event in handle.events(after=7)] == list(range(8, len(events) + 1))


async def test_without_the_run_store_it_is_said_what_is_missing(stack: EmbeddedStack) -> None:
    handle = await trimmed(Client(stack.client, stack.task_queue, store="off"))
    with pytest.raises(PlatformError, match=r"events 1 to \d+ .* only be read from the run store.*PERDURE_STORE"):
        _ = [event async for event in handle.events()]


async def test_the_log_holds_the_windows_too_and_resumes_anywhere(stack: EmbeddedStack) -> None:
    client = Client(stack.client, stack.task_queue, store=stack.store_url)
    handle = await finished(client, squares(), ITEMS, WINDOWS)
    entries = [entry async for entry in handle.log()]
    assert [entry.position for entry in entries] == list(range(1, len(entries) + 1))
    scopes: dict[str, list[int]] = {}
    for entry in entries:
        scopes.setdefault(entry.scope, []).append(entry.event.seq)
    assert len(scopes) == 4, scopes.keys()
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in scopes.values())
    assert [entry async for entry in handle.log(after=30)] == entries[30:]


async def test_events_outlive_the_history_on_the_server(stack: EmbeddedStack) -> None:
    client = Client(stack.client, stack.task_queue, store=stack.store_url)
    handle = await finished(client, squares(), ITEMS)
    before = [event async for event in handle.events()]
    await forgotten(client, handle)
    assert [event async for event in handle.events()] == before
    assert [event async for event in handle.events(after=3)] == before[3:]
    with pytest.raises(RunNotFound):
        _ = [event async for event in Client(stack.client, store="off").run(handle.run_id).events()]
    with pytest.raises(RunNotFound, match="nobody"):
        _ = [event async for event in client.run("nobody").events()]


async def test_the_command_shows_all_with_positions(outside: Outside) -> None:
    handle = await finished(outside.client, squares(), ITEMS, WINDOWS)
    entries = [entry async for entry in handle.log()]
    done = await outside.cli("events", handle.run_id, "--all")
    assert (done.code, len(done.out.splitlines())) == (0, len(entries)), done.err
    assert f"{entries[-1].scope} " in done.out.splitlines()[-1]
    rest = await outside.cli("events", handle.run_id, "--all", "--after", len(entries) - 2, "--json")
    assert len(rest.out.splitlines()) == 2
    assert rest.json["position"] == len(entries)
