"""Runs on a real server, through the client."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from fakes.graphs import code, document, end, iteration, node, start, template
from perdure import (
    Client,
    CommandRefused,
    Graph,
    InvalidGraph,
    InvalidInputs,
    Pin,
    RunFailed,
    RunHandle,
    RunNotFound,
    RunOptions,
)
from perdure_graph.events import NodeFinished
from perdure_graph.graph import Document
from perdure_graph.request import RunRequest
from perdure_worker.embedded import EmbeddedStack

SLOW = "def main(x):\n    t = 0\n    for i in range(3_000_000):\n        t += i\n    return {'r': x}"

BIG = "def main():\n    return {'a': 'x' * 390_000, 'b': 'y' * 390_000}"


@pytest.fixture(scope="session")
def perdure(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue)


def graph(*nodes: Any, edges: list[tuple[str, ...]], **more: Any) -> Graph:
    return Graph.from_document(document([start(x="number", s="text-input"), *nodes], edges, **more))


def asks() -> Graph:
    """start -> ask (approve | reject) -> end."""
    actions = [{"id": "approve", "title": "Yes"}, {"id": "reject", "title": "No"}]
    ask = node(
        "ask",
        "human-input",
        form_content="Pay {{#start.x#}}?",
        inputs=[{"type": "text_input", "output_variable_name": "note"}],
        user_actions=actions,
        timeout=1,
        timeout_unit="day",
    )
    return graph(
        ask,
        end("yes", a=["ask", "__action_id"], note=["ask", "note"]),
        end("no", rejected=["ask", "__action_id"]),
        edges=[("start", "ask"), ("ask", "approve", "yes"), ("ask", "reject", "no")],
    )


async def until(handle: RunHandle, status: str) -> None:
    async with asyncio.timeout(20):
        while (await handle.status()).status != status:
            await asyncio.sleep(0.02)


async def test_a_run_gives_outputs_and_numbered_events(perdure: Client) -> None:
    flow = graph(
        code("double", "def main(x):\n    return {'r': x * 2}", {"r": "number"}, x=["start", "x"]),
        template("text", "<{{ v }}>", v=["double", "r"]),
        end(out=["text", "output"], n=["double", "r"]),
        edges=[("start", "double"), ("double", "text"), ("text", "end")],
    )
    handle = await perdure.start(flow, {"x": 21})
    assert await handle.outputs() == {"out": "<42>", "n": 42}
    events = [event async for event in handle.events()]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [e.node_id for e in events if isinstance(e, NodeFinished)] == ["start", "double", "text", "end"]
    assert [event async for event in handle.events(after=events[-3].seq)] == events[-2:]
    view = await handle.status()
    assert (view.status, view.graph_hash) == ("succeeded", flow.hash)


async def test_starting_twice_with_one_id_is_one_run(perdure: Client) -> None:
    flow = graph(end(x=["start", "x"]), edges=[("start", "end")])
    run_id = f"twice-{uuid.uuid4()}"
    first, second = await asyncio.gather(*(perdure.start(flow, {"x": 1}, run_id=run_id) for _ in range(2)))
    assert await first.outputs() == await second.outputs() == {"x": 1}
    again = await perdure.start(flow, {"x": 1}, run_id=run_id)
    assert (await again.result()).run_id == run_id
    with pytest.raises(CommandRefused, match="belongs to a run of another graph or agent or with other inputs"):
        await perdure.start(flow, {"x": 2}, run_id=run_id)


async def test_a_failed_node_fails_the_run_and_the_workflow(perdure: Client) -> None:
    flow = graph(
        code("bad", "def main():\n    raise KeyError('z')", {"r": "string"}),
        end(),
        edges=[("start", "bad"), ("bad", "end")],
    )
    handle = await perdure.start(flow, {})
    result = await handle.result()
    assert (result.status, result.outputs, result.exceptions_count) == ("failed", {}, 1)
    assert result.error is not None
    assert result.error.node == "bad"
    assert "KeyError: 'z'" in result.error.message
    with pytest.raises(RunFailed, match="node 'bad'"):
        await handle.outputs()
    described = await perdure.temporal.get_workflow_handle(handle.run_id).describe()
    assert described.status is WorkflowExecutionStatus.FAILED


async def test_pause_holds_new_effects_and_resume_goes_on(perdure: Client) -> None:
    flow = graph(
        code("a", SLOW, {"r": "number"}, x=["start", "x"]),
        code("b", SLOW, {"r": "number"}, x=["a", "r"]),
        end(out=["b", "r"]),
        edges=[("start", "a"), ("a", "b"), ("b", "end")],
    )
    handle = await perdure.start(flow, {"x": 5})
    async with asyncio.timeout(20):
        while not any(n.key == "a" for n in (await handle.status()).nodes):
            await asyncio.sleep(0.005)
    view = await handle.pause("look")
    assert view.status in ("pausing", "paused")
    await until(handle, "paused")
    statuses = {n.node_id: n.status for n in (await handle.status()).nodes}
    assert statuses == {"start": "succeeded", "a": "succeeded"}
    with pytest.raises(CommandRefused, match="is paused already"):
        await handle.pause()
    await handle.resume()
    assert await handle.outputs() == {"out": 5}
    with pytest.raises(CommandRefused, match="has ended"):
        await handle.pause()


async def test_stop_cancels_what_is_in_flight(perdure: Client) -> None:
    endless = code("spin", "def main():\n    while True: pass", {"r": "number"})
    flow = graph(endless, end(), edges=[("start", "spin"), ("spin", "end")])
    handle = await perdure.start(flow)
    await until(handle, "running")
    view = await handle.stop("enough")
    assert view.status == "stopped"
    result = await handle.result()
    assert (result.status, result.outputs) == ("stopped", {})
    assert [s.run_id for s in await _listed(perdure, "stopped", handle.run_id)] == [handle.run_id]


async def _listed(perdure: Client, status: str, run_id: str) -> list[Any]:
    async with asyncio.timeout(20):
        while True:
            found = [s for s in await perdure.list(status=status) if s.run_id == run_id]
            if found:
                return found
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("action", "outputs"), [("approve", {"a": "approve", "note": "ok"}), ("reject", {"rejected": "reject"})]
)
async def test_a_form_is_answered_once(perdure: Client, action: str, outputs: dict[str, Any]) -> None:
    handle = await perdure.start(asks(), {"x": 7})
    await until(handle, "paused")
    [form] = (await handle.status()).forms
    assert (form.form.content, [a.id for a in form.form.actions]) == ("Pay 7?", ["approve", "reject"])
    with pytest.raises(CommandRefused, match="approve"):
        await handle.submit("ask", "maybe")
    await handle.submit(form.key, action, {"note": "ok"})
    assert await handle.outputs() == outputs
    with pytest.raises(CommandRefused):
        await handle.submit(form.key, action)


async def test_inputs_and_graphs_are_checked_before_anything_starts(perdure: Client) -> None:
    required = {"variable": "q", "label": "q", "type": "paragraph", "required": True}
    flow = Graph.from_document(document([node("start", "start", variables=[required]), end()], [("start", "end")]))
    with pytest.raises(InvalidInputs, match="q"):
        await perdure.start(flow, {})
    agent = node("say", "agent", agent_strategy_provider_name="p", agent_strategy_name="s")
    flow = graph(agent, end(out=["say", "text"]), edges=[("start", "say"), ("say", "end")])
    with pytest.raises(InvalidGraph, match="say"):
        await perdure.start(flow)
    handle = await perdure.start(flow, pins={"type:agent": Pin(outputs={"text": "pinned"})})
    assert await handle.outputs() == {"out": "pinned"}


async def test_a_run_started_past_the_client_is_checked_too(stack: EmbeddedStack, perdure: Client) -> None:
    required = {"variable": "q", "label": "q", "type": "paragraph", "required": True}
    doc = document([node("start", "start", variables=[required]), end()], [("start", "end")])
    client: TemporalClient = stack.client
    raw = await client.start_workflow(
        "GraphRun", RunRequest(graph=doc), id=f"raw-{uuid.uuid4()}", task_queue=stack.task_queue
    )
    with pytest.raises(InvalidInputs, match="q"):
        await perdure.run(raw.id).result()


async def test_an_unknown_run_is_not_found(perdure: Client) -> None:
    with pytest.raises(RunNotFound, match="perdure list"):
        await perdure.run("no-such-run").result()


async def test_a_value_over_the_payload_limit_fails_the_node_by_name(perdure: Client) -> None:
    makers = [code(f"make{i}", BIG, {"a": "string", "b": "string"}) for i in range(3)]
    every = {f"{name}{i}": [f"make{i}", name] for i in range(3) for name in "ab"}
    flow = graph(
        *makers,
        template("join", "{{ a0 | upper }}", **every),
        end(),
        edges=[("start", "make0"), ("make0", "make1"), ("make1", "make2"), ("make2", "join"), ("join", "end")],
    )
    result = await (await perdure.start(flow, options=RunOptions(max_value_bytes=2_000_000))).result()
    assert result.error is not None
    assert (result.status, result.error.node, result.error.type) == ("failed", "join", "PayloadTooLarge")


async def test_outputs_over_the_payload_limit_fail_the_run_by_name(perdure: Client) -> None:
    every = {f"{name}{i}": [f"make{i}", name] for i in range(3) for name in "ab"}
    flow = graph(
        *(code(f"make{i}", BIG, {"a": "string", "b": "string"}) for i in range(3)),
        end(**every),
        edges=[("start", "make0"), ("make0", "make1"), ("make1", "make2"), ("make2", "end")],
    )
    handle = await perdure.start(flow, options=RunOptions(max_value_bytes=2_000_000))
    with pytest.raises(RunFailed, match=r"the run gives .* bytes, most of them in 'outputs'; the limit is 2,000,000"):
        await handle.result()
    assert [event async for event in handle.events()][-1].type == "run_finished"


async def test_a_template_that_never_ends_fails_its_node(perdure: Client) -> None:
    forever = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    flow = graph(template("loop", forever), end(), edges=[("start", "loop"), ("loop", "end")])
    result = await (await perdure.start(flow)).result()
    assert result.error is not None
    assert (result.status, result.error.node) == ("failed", "loop")
    assert "Timeout" in result.error.type


async def test_a_parallel_iteration_keeps_the_order_of_its_items(perdure: Client) -> None:
    doc: Document = iteration(
        ["start", "items", "l"],
        [code("k", "def main(x):\n    return {'r': x * x}", {"r": "number"}, "it", x=["it", "item"])],
        [("its", "k")],
        ["k", "r"],
        is_parallel=True,
        parallel_nums=8,
    )
    handle = await perdure.start(Graph.from_document(doc), {"items": {"l": list(range(30))}})
    assert await handle.outputs() == {"out": [x * x for x in range(30)]}


async def test_a_step_limit_ends_a_run(perdure: Client) -> None:
    flow = graph(template("a", "a"), template("b", "b"), end(), edges=[("start", "a"), ("a", "b"), ("b", "end")])
    result = await (await perdure.start(flow, options=RunOptions(max_steps=2))).result()
    assert result.error is not None
    assert (result.status, result.error.message) == ("failed", "Maximum execution steps exceeded: 3 > 2")


async def test_the_temporal_ui_reads_well(perdure: Client) -> None:
    flow = graph(
        node(
            "named",
            "code",
            title="Count the rows",
            code="def main():\n    return {'r': 1}",
            code_language="python3",
            outputs={"r": {"type": "number"}},
            variables=[],
        ),
        end(),
        edges=[("start", "named"), ("named", "end")],
        name="Monthly report",
    )
    handle = await perdure.start(flow)
    await handle.result()
    workflow = perdure.temporal.get_workflow_handle(handle.run_id)
    described = await workflow.describe()
    assert await described.static_summary() == "Monthly report"
    summary = [s for s in await perdure.list(limit=500) if s.run_id == handle.run_id]
    assert [(s.graph, s.status) for s in summary] == [("Monthly report", "succeeded")]
    history = await workflow.fetch_history()
    scheduled = [e for e in history.events if e.HasField("activity_task_scheduled_event_attributes")]
    ids = [e.activity_task_scheduled_event_attributes.activity_id for e in scheduled]
    assert ids == ["named", "!events#1"]
    assert [e.user_metadata.summary.data for e in scheduled] == [b'"Count the rows"', b'"record events"']


async def test_effects_go_to_the_queue_of_their_class(perdure: Client) -> None:
    flow = graph(
        code("far", "def main():\n    return {'r': 1}", {"r": "number"}),
        end(),
        edges=[("start", "far"), ("far", "end")],
    )
    handle = await perdure.start(flow, options=RunOptions(queues={"code": "snippets-elsewhere"}))
    workflow = perdure.temporal.get_workflow_handle(handle.run_id)
    async with asyncio.timeout(20):
        while not (pending := (await workflow.describe()).raw_description.pending_activities):
            await asyncio.sleep(0.05)
    assert [activity.activity_id for activity in pending] == ["far"]
    history = await workflow.fetch_history()
    [queue] = [
        event.activity_task_scheduled_event_attributes.task_queue.name
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]
    assert queue == "snippets-elsewhere"
    await handle.stop()


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (None, InvalidInputs, "no run request"),
        ("graph", InvalidInputs, "no run request"),
        ({}, InvalidInputs, "graph: Field required"),
        ({"graph": {"nodes": "x"}}, InvalidGraph, "there is no app section"),
        ({"graph": {"kind": "app"}}, InvalidGraph, "app"),
        ({"graph": {}, "inputs": []}, InvalidInputs, "inputs"),
    ],
)
async def test_a_request_that_is_none_fails_the_run_and_hangs_nothing(
    perdure: Client, request_: Any, error: type[Exception], text: str
) -> None:
    raw = await perdure.temporal.start_workflow(
        "GraphRun", request_, id=f"raw-{uuid.uuid4()}", task_queue=perdure.task_queue
    )
    async with asyncio.timeout(20):
        with pytest.raises(error, match=text):
            await perdure.run(raw.id).result()


async def test_a_dify_document_starts_a_run_as_it_is(perdure: Client) -> None:
    nodes = [
        {"id": "start", "type": "custom", "position": {"x": 0}, "data": {"type": "start", "variables": []}},
        {
            "id": "if",
            "data": {
                "type": "if-else",
                "cases": [{"case_id": "yes", "logical_operator": "and", "conditions": []}],
            },
        },
        {"id": "end", "data": {"type": "end", "outputs": [{"variable": "r", "value_selector": ["if", "result"]}]}},
    ]
    edges = [
        {"id": "1", "source": "start", "target": "if"},
        {"id": "2", "source": "if", "sourceHandle": "yes", "target": "end", "targetHandle": "target"},
    ]
    app = {"mode": "workflow", "name": "raw"}
    dify = {"kind": "app", "version": "0.6.0", "app": app, "workflow": {"graph": {"nodes": nodes, "edges": edges}}}
    for document_ in (dify, {"nodes": nodes, "edges": edges}):
        raw = await perdure.temporal.start_workflow(
            "GraphRun", {"graph": document_}, id=f"raw-{uuid.uuid4()}", task_queue=perdure.task_queue
        )
        assert await perdure.run(raw.id).outputs() == {"r": True}


async def test_a_run_that_nobody_waits_for_gives_way(perdure: Client) -> None:
    flow = graph(
        code("k", "def main(x):\n    return {'r': x}", {"r": "number"}, x=["start", "x"]),
        end(r=["k", "r"]),
        edges=[("start", "k"), ("k", "end")],
    )
    found: dict[str, int | None] = {}
    for options in (RunOptions(), RunOptions(priority="batch")):
        run = await perdure.start(flow, {"x": 1}, options=options)
        assert await run.outputs() == {"r": 1}
        history = await perdure.temporal.get_workflow_handle(run.run_id).fetch_history()
        started = history.events[0].workflow_execution_started_event_attributes
        found[options.priority] = started.priority.priority_key
    assert found["interactive"] < found["batch"]
