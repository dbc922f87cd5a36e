"""Forks of runs that the server has forgotten: their record is in the run store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from client.conftest import Outside
from client.test_fork import batch, call, chain
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.service import RPCError, RPCStatusCode

from fakes.graphs import code, document, end, start
from perdure import Client, Graph, InvalidInputs, RunHandle, RunNotFound, RunResult
from perdure_graph.graph import Document

# One worker process for all: the server takes half a minute to forget a run.
pytestmark = pytest.mark.xdist_group("forgotten")

STRICT = "def main(x):\n    if x > 3: raise ValueError('too much')\n    return {'r': x}"


def long(outside: Outside) -> Document:
    """start -> a (POST) -> twice (code) -> b (POST) -> end; `twice` gives 100 kB."""
    return document(
        [
            start(text="paragraph"),
            call("a", outside.url("a")),
            code("twice", "def main(x):\n    return {'r': x * 1000}", {"r": "string"}, x=["start", "text"]),
            call("b", outside.url("b")),
            end(status=["b", "status_code"]),
        ],
        [("start", "a"), ("a", "twice"), ("twice", "b"), ("b", "end")],
    )


@dataclass(frozen=True)
class Forgotten:
    """A run that is gone from the server, and the graph that it ran."""

    graph: Graph
    run: RunHandle
    result: RunResult


async def forget(outside: Outside, drawn: Document, inputs: dict[str, Any]) -> Forgotten:
    """Run a flow to its end and have the server delete it, once all of it is recorded."""
    graph = Graph.from_document(drawn)
    client = Client(outside.client.temporal, outside.client.task_queue, store=outside.stack.store_url)
    run = await client.start(graph, inputs)
    result = await run.result()
    async with asyncio.timeout(120):
        async for _ in run.log(follow=True):
            pass
        request = DeleteWorkflowExecutionRequest(
            namespace=client.temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=run.run_id)
        )
        await client.temporal.workflow_service.delete_workflow_execution(request)
        # The server takes its time, half a minute.
        while True:
            try:
                await client.temporal.get_workflow_handle(run.run_id).describe()
            except RPCError as error:
                assert error.status is RPCStatusCode.NOT_FOUND
                return Forgotten(graph, run, result)
            await asyncio.sleep(0.2)


@pytest.fixture(scope="module")
async def runs(_outside: Outside) -> dict[str, Forgotten]:
    """One run of each flow."""
    flows = {
        "chain": (chain(_outside), {"who": "good"}),
        "batch": (batch(_outside, STRICT), {"items": {"l": [1, 5]}}),
        "long": (long(_outside), {"text": "x" * 100}),
    }
    found = await asyncio.gather(*(forget(_outside, drawn, inputs) for drawn, inputs in flows.values()))
    return dict(zip(flows, found, strict=True))


async def test_what_was_recorded_is_taken_over_at_no_cost(runs: dict[str, Forgotten], outside: Outside) -> None:
    source = runs["chain"]
    forked = await source.run.fork("c", graph=source.graph)
    assert await forked.outputs() == source.result.outputs
    assert outside.asked() == ["c-good"]
    altered = await source.run.fork("check", graph=source.graph, inputs={"who": "bad"})
    assert (await altered.result()).status == "failed"
    assert outside.asked() == []


async def test_a_failed_run_goes_on_at_the_node_that_failed(runs: dict[str, Forgotten], outside: Outside) -> None:
    source = runs["batch"]
    planned = await source.run.plan_fork(graph=source.graph)
    assert (planned.reused, planned.partial, planned.anew) == (("start", "first"), {}, ("it", "end"))
    mended = await source.run.fork("it", graph=source.graph, inputs={"items": {"l": [1, 2]}})
    assert await mended.outputs() == {"out": [200, 200]}
    assert outside.asked() == ["book-1", "book-2"]
    with pytest.raises(InvalidInputs, match=r"from 'it\[1\]': what each item gave is not in the run store; fork from"):
        await source.run.fork("it[1]", graph=source.graph)


async def test_what_is_missing_is_said(runs: dict[str, Forgotten], outside: Outside) -> None:
    source = runs["chain"]
    other = Graph.from_document(chain(outside, "def main(text, who):\n    return {'r': who}"))
    for given, why in [(None, "none was given"), (other, "the one given is another")]:
        with pytest.raises(InvalidInputs, match=f"run store keeps no graphs: give the flow .*{why}") as refused:
            await source.run.fork("c", graph=given)
        assert refused.value.field == "graph"
    bare = Client(outside.client.temporal, store="off").run(source.run.run_id)
    with pytest.raises(RunNotFound, match="PERDURE_STORE names the run store"):
        await bare.fork("c", graph=source.graph)
    elsewhere = Client(outside.client.temporal, store=outside.stack.store_url).run("no-such-run")
    with pytest.raises(RunNotFound, match="no-such-run"):
        await elsewhere.fork("c", graph=source.graph)


async def test_a_value_too_large_to_be_recorded_is_named_and_can_be_given(
    runs: dict[str, Forgotten], outside: Outside
) -> None:
    source = runs["long"]
    why = r"cannot take over node 'twice' .*\(r: too large.*Fork from 'twice'"
    with pytest.raises(InvalidInputs, match=why) as refused:
        await source.run.fork("b", graph=source.graph)
    assert (refused.value.node, refused.value.field) == ("twice", "r")
    given = await source.run.fork("b", graph=source.graph, variables={"twice": {"r": "short"}})
    assert await given.outputs() == {"status": 200}
    assert await (await source.run.fork("twice", graph=source.graph)).outputs() == {"status": 200}
    assert outside.asked() == ["b", "b"]


async def test_the_command_takes_the_flow_as_it_ran(
    runs: dict[str, Forgotten], outside: Outside, tmp_path: Path
) -> None:
    source = runs["chain"]
    flow = tmp_path / "chain.graph.json"
    flow.write_text(source.graph.document.model_dump_json())
    done = await outside.cli("fork", source.run.run_id, "--from", "c")
    assert (done.code, "--flow" in done.err, "keeps no graphs" in done.err) == (2, True, True)
    done = await outside.cli("fork", source.run.run_id, "--from", "c", "--flow", flow, "--json")
    assert done.code == 0, done.err
    assert "forgotten" in done.err
    assert (await outside.client.run(done.json["run_id"]).outputs())["status"] == 200
    assert outside.asked() == ["c-good"]
