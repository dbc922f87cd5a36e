"""Long runs: a fresh history when one grows long, windows of large iterations as child workflows, and both under
commands."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from fakes.graphs import code, document, end, iteration, node, start
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_worker.embedded import EmbeddedStack

SQUARE = "def main(x):\n    return {'r': x * x}"
SLOW = "def main(x):\n    n = 0\n    for i in range(60000):\n        n += i\n    return {'r': x * x}"


@pytest.fixture
def perdure(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue)


def squares(parallel: int, body: str = SQUARE) -> Graph:
    inner = [code("k", body, {"r": "number"}, "it", x=["it", "item"])]
    return Graph.from_document(
        iteration(
            ["start", "items", "l"],
            inner,
            [("its", "k")],
            ["k", "r"],
            is_parallel=parallel > 1,
            parallel_nums=parallel,
        )
    )


def counting_loop(rounds: int) -> Graph:
    """A loop that adds one per round, then asks a person, then a code step."""
    add = code("add", "def main(n):\n    return {'n': n + 1}", {"n": "number"}, "lo", n=["lo", "count"])
    keep = node(
        "keep",
        "assigner",
        "lo",
        version="2",
        items=[
            {
                "variable_selector": ["lo", "count"],
                "input_type": "variable",
                "operation": "over-write",
                "value": ["add", "n"],
            }
        ],
    )
    ask = node(
        "ask",
        "human-input",
        form_content="so far {{#lo.count#}}",
        inputs=[],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=1,
        timeout_unit="day",
    )
    return Graph.from_document(
        document(
            [
                start(),
                node(
                    "lo",
                    "loop",
                    start_node_id="los",
                    loop_count=rounds,
                    loop_variables=[{"label": "count", "var_type": "number", "value_type": "constant", "value": 0}],
                    break_conditions=[],
                    logical_operator="and",
                ),
                node("los", "loop-start", "lo", isInLoop=True, loop_id="lo"),
                add,
                keep,
                ask,
                code("after", "def main(n):\n    return {'n': n * 10}", {"n": "number"}, n=["lo", "count"]),
                end(n=["after", "n"]),
            ],
            [("start", "lo"), ("lo", "ask"), ("ask", "go", "after"), ("after", "end"), ("los", "add"), ("add", "keep")],
        )
    )


async def histories(client: TemporalClient, workflow_id: str) -> list[int]:
    """Number of events of every history of a workflow, newest first."""
    found: list[int] = []
    run_id: str | None = None
    while True:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        found.append(len(history.events))
        before = history.events[0].workflow_execution_started_event_attributes.continued_execution_run_id
        if not before:
            return found
        run_id = before


async def until(handle: RunHandle, *statuses: str) -> None:
    async with asyncio.timeout(60):
        while (await handle.status()).status not in statuses:
            await asyncio.sleep(0.05)


async def test_a_run_moves_to_fresh_histories_and_loses_nothing(perdure: Client, stack: EmbeddedStack) -> None:
    handle = await perdure.start(counting_loop(40), {}, options=RunOptions(continue_after_events=40))
    async with asyncio.timeout(60):
        while not (await handle.status()).forms:
            await asyncio.sleep(0.05)
    await handle.submit("ask", "go")
    assert await handle.outputs() == {"n": 400}
    lengths = await histories(stack.client, handle.run_id)
    assert len(lengths) >= 4
    assert max(lengths) < 100
    assert [event.seq async for event in handle.events()] == list(range(1, (await handle.status()).seq + 1))


async def test_a_form_and_its_timer_cross_into_a_fresh_history(perdure: Client, stack: EmbeddedStack) -> None:
    """Commands make the history grow while the form is open; then it is answered."""
    handle = await perdure.start(counting_loop(1), {}, options=RunOptions(continue_after_events=30))
    await until(handle, "paused")
    for _ in range(8):
        await handle.pause()
        await handle.resume()
    await until(handle, "paused")
    view = await handle.submit("ask", "go")
    assert view.forms == []
    assert await handle.outputs() == {"n": 10}
    assert len(await histories(stack.client, handle.run_id)) >= 2


@pytest.mark.parametrize("parallel", [1, 4])
async def test_a_large_iteration_runs_in_windows(perdure: Client, stack: EmbeddedStack, parallel: int) -> None:
    items = list(range(130))
    handle = await perdure.start(squares(parallel), {"items": {"l": items}}, options=RunOptions(window_items=40))
    async with asyncio.timeout(90):
        assert await handle.outputs() == {"out": [n * n for n in items]}
    windows = [event async for event in handle.events() if event.type == "iteration_window"]
    assert sorted((event.first, event.count) for event in windows) == (
        [(0, 40), (40, 40), (80, 40), (120, 10)] if parallel == 1 else [(0, 33), (33, 33), (66, 33), (99, 31)]
    )
    history = await stack.client.get_workflow_handle(handle.run_id).fetch_history()
    kinds = [event.event_type for event in history.events]
    assert EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED in kinds
    assert len(history.events) < 100, "the items are in the children's histories"


async def test_pause_and_resume_reach_the_windows(perdure: Client, stack: EmbeddedStack) -> None:
    items = list(range(60))
    handle = await perdure.start(squares(2, SLOW), {"items": {"l": items}}, options=RunOptions(window_items=15))
    await running_windows(stack.client, handle.run_id)
    await handle.pause("look")
    await until(handle, "paused")
    before = await scheduled(stack.client, handle.run_id)
    await asyncio.sleep(0.5)
    assert await scheduled(stack.client, handle.run_id) == before, "an effect started while the run was paused"
    assert 0 < before < len(items)
    await handle.resume()
    async with asyncio.timeout(90):
        assert await handle.outputs() == {"out": [n * n for n in items]}


async def test_stop_returns_when_no_window_can_start_anything(perdure: Client, stack: EmbeddedStack) -> None:
    items = list(range(400))
    handle = await perdure.start(squares(4, SLOW), {"items": {"l": items}}, options=RunOptions(window_items=20))
    await running_windows(stack.client, handle.run_id)
    view = await handle.stop()
    assert view.status == "stopped"
    before = await scheduled(stack.client, handle.run_id)
    for child in await children(stack.client, handle.run_id):
        described = await stack.client.get_workflow_handle(child).describe()
        assert described.status is not WorkflowExecutionStatus.RUNNING
    await asyncio.sleep(0.5)
    assert await scheduled(stack.client, handle.run_id) == before
    assert (await handle.result()).status == "stopped"


async def children(client: TemporalClient, run_id: str) -> list[str]:
    history = await client.get_workflow_handle(run_id).fetch_history()
    return [
        event.start_child_workflow_execution_initiated_event_attributes.workflow_id
        for event in history.events
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
        and event.start_child_workflow_execution_initiated_event_attributes.workflow_type.name == "IterationWindow"
    ]


async def running_windows(client: TemporalClient, run_id: str) -> None:
    async with asyncio.timeout(30):
        while await scheduled(client, run_id) < 6:
            await asyncio.sleep(0.05)


async def scheduled(client: TemporalClient, run_id: str) -> int:
    """Number of effects that the windows of a run have asked for."""
    count = 0
    for child in await children(client, run_id):
        try:
            history = await client.get_workflow_handle(child).fetch_history()
        except Exception:
            continue
        count += sum(
            1
            for event in history.events
            if event.activity_task_scheduled_event_attributes.activity_type.name == "run_code"
        )
    return count
