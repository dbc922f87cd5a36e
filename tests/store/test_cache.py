"""Kept replies: equal requests of nodes that ask for it are answered from before, within a scope and for a time."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from store.conftest import Crew, HireCrew

from fakes.graphs import code, document, end, node, start
from perdure import Client, Graph, InvalidGraph, InvalidInputs, RunHandle, RunNotFound, RunOptions
from perdure_graph import naming
from perdure_graph.events import NodeFinished
from perdure_graph.graph import NodeSpec
from perdure_graph.options import CacheOptions, NodeOptions
from perdure_graph.request import RunRequest
from perdure_store.read import Store


@pytest.fixture(scope="module")
async def _own(crew: HireCrew) -> AsyncIterator[Crew]:
    async with crew() as hired:
        yield hired


@pytest.fixture
def own(_own: Crew) -> Crew:
    """The crew, with nothing counted yet."""
    _own.server.requests.clear()
    return _own


@pytest.fixture
def name() -> str:
    """A name that no flow of another test has, so that nothing is kept for it."""
    return f"flow-{uuid.uuid4()}"


def http(node_id: str, url: str, parent: str | None = None, /, **data: Any) -> NodeSpec:
    return node(node_id, "http-request", parent, **{"method": "get", "url": url, **data})


def fetching(own: Crew, name: str, path: str = "/echo?n={{#start.x#}}", **data: Any) -> Graph:
    """start -> get -> end."""
    nodes = [start(x="number"), http("get", own.server.url(path), **data), end(body=["get", "body"])]
    return Graph.from_document(document(nodes, [("start", "get"), ("get", "end")], name=name))


def cached(scope: Any = "flow", ttl_s: float = 600.0, node_id: str = "get") -> RunOptions:
    return RunOptions(nodes={node_id: NodeOptions(cache=CacheOptions(scope=scope, ttl_s=ttl_s))})


async def finished(handle: RunHandle, node_id: str = "get") -> list[NodeFinished]:
    """Give the ends of a node, once the run has ended."""
    assert (await handle.result()).status in ("succeeded", "partial-succeeded", "failed")
    found = [event async for event in handle.events()]
    return [event for event in found if isinstance(event, NodeFinished) and event.node_id == node_id]


async def run(client: Client, flow: Graph, x: float, options: RunOptions, *, tenant: str = "") -> NodeFinished:
    request = RunRequest(graph=flow.document, inputs={"x": x}, options=options, tenant=tenant)
    (end_of_node,) = await finished(await client.start_request(flow, request))
    return end_of_node


async def test_an_equal_request_of_the_flow_is_answered_from_before(own: Crew, name: str) -> None:
    flow = fetching(own, name)
    first = await run(own.client, flow, 1, cached())
    assert (first.cached, own.asked()) == (False, 1)
    handle = await own.client.start(flow, {"x": 1}, options=cached())
    (again,) = await finished(handle)
    assert (again.cached, own.asked()) == (True, 0)
    assert again.outputs == first.outputs
    assert json.loads(str(again.outputs["body"]))["target"] == "/echo?n=1"
    async with Store.open(own.store_url) as store:
        async with asyncio.timeout(30):
            while await store.is_complete(handle.run_id) != (True, True):
                await asyncio.sleep(0.1)
        assert {each.node_id: each.cached for each in await store.nodes(handle.run_id)} == {
            "start": False,
            "get": True,
            "end": False,
        }
    # Other inputs, another definition, and a run that does not ask for it: each asks the server.
    assert (await run(own.client, flow, 2, cached())).cached is False
    assert (await run(own.client, fetching(own, name, headers="A: b"), 1, cached())).cached is False
    assert (await run(own.client, flow, 1, RunOptions())).cached is False
    assert own.asked() == 3


async def test_a_graph_may_ask_for_it_in_its_drawing(own: Crew, name: str) -> None:
    flow = fetching(own, name, perdure={"cache": {"scope": "flow"}})
    ends = [await run(own.client, flow, 1, RunOptions()) for _ in range(2)]
    assert ([each.cached for each in ends], own.asked()) == ([False, True], 1)


async def test_each_scope_ends_where_it_says(own: Crew, name: str) -> None:
    one, other = fetching(own, name), fetching(own, f"{name}-other")
    acme, evil = f"acme-{name}", f"evil-{name}"
    told = [
        (await run(own.client, one, 1, cached("flow"))).cached,
        (await run(own.client, other, 1, cached("flow"))).cached,
        (await run(own.client, one, 1, cached("flow"), tenant=acme)).cached,
        (await run(own.client, one, 2, cached("tenant"), tenant=acme)).cached,
        (await run(own.client, other, 2, cached("tenant"), tenant=acme)).cached,
        (await run(own.client, other, 2, cached("tenant"), tenant=evil)).cached,
        (await run(own.client, one, 3, cached("run"))).cached,
        (await run(own.client, one, 3, cached("run"))).cached,
    ]
    assert told == [False, False, False, False, True, False, False, False]
    assert own.asked() == 7


async def test_scope_run_is_one_run_with_all_its_windows(own: Crew) -> None:
    nodes = [
        start(items="json_object"),
        node(
            "it",
            "iteration",
            start_node_id="its",
            iterator_selector=["start", "items", "l"],
            output_selector=["get", "status_code"],
        ),
        node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
        http("get", own.server.url("/echo?n={{#it.item#}}"), "it"),
        end(out=["it", "output"]),
    ]
    flow = Graph.from_document(document(nodes, [("start", "it"), ("its", "get"), ("it", "end")]))
    options = cached("run").model_copy(update={"window_items": 2})
    for _ in range(2):
        handle = await own.client.start(flow, {"items": {"l": [1, 2, 1, 2, 1]}}, options=options)
        assert await handle.outputs() == {"out": [200] * 5}
        assert own.asked() == 2


async def test_a_reply_is_kept_for_its_time(own: Crew, name: str) -> None:
    flow = fetching(own, name)
    assert (await run(own.client, flow, 1, cached(ttl_s=1.0))).cached is False
    await asyncio.sleep(1.1)
    assert (await run(own.client, flow, 1, cached())).cached is False
    assert (await run(own.client, flow, 1, cached())).cached is True
    assert own.asked() == 2


async def test_failures_are_not_kept(own: Crew, name: str) -> None:
    retries = {"retry_enabled": True, "max_retries": 2, "retry_interval": 1}
    flow = fetching(own, name, path="/status/500", retry_config=retries)
    for _ in range(2):
        end_of_node = await run(own.client, flow, 1, cached())
        assert (end_of_node.status, end_of_node.attempts, end_of_node.cached) == ("failed", 3, False)
        assert own.asked() == 3


async def test_code_is_kept_too(own: Crew, name: str) -> None:
    body = "import uuid\ndef main(x):\n    return {'r': uuid.uuid4().hex}"
    nodes = [start(x="number"), code("k", body, {"r": "string"}, x=["start", "x"]), end(r=["k", "r"])]
    flow = Graph.from_document(document(nodes, [("start", "k"), ("k", "end")], name=name))
    given = []
    for options in (cached(node_id="k"), cached(node_id="k"), RunOptions()):
        given.append(await (await own.client.start(flow, {"x": 1}, options=options)).outputs())
    assert given[0] == given[1] != given[2]


@pytest.mark.parametrize("store", ["off", "sqlite:////proc/nowhere/runs.db"])
async def test_without_a_store_nothing_is_kept_and_nothing_fails(crew: HireCrew, store: str, name: str) -> None:
    async with crew(store) as own:
        flow = fetching(own, name)
        ends = [await run(own.client, flow, 1, cached()) for _ in range(2)]
        assert [each.cached for each in ends] == [False, False]
        # Each asks; an attempt that a busy machine takes for dead is made again.
        assert own.asked() >= 2


@pytest.mark.parametrize(
    ("data", "options", "field", "why"),
    [
        (
            {"method": "post"},
            {"cache": {}},
            "options.nodes.get.cache",
            "node like this is `retry: keyed`",
        ),
        ({}, {"cache": {}, "retry": "never"}, "options.nodes.get.cache", "marked `retry: never`"),
        ({"perdure": {"cache": {}}}, {"retry": "keyed"}, "data.perdure.cache", "marked `retry: keyed`"),
    ],
)
async def test_cache_on_a_node_with_side_effects_is_refused_before_the_run(
    own: Crew, name: str, data: dict[str, Any], options: dict[str, Any], field: str, why: str
) -> None:
    flow = fetching(own, name, **data)
    asked = RunOptions(nodes={"get": NodeOptions.model_validate(options)})
    run_id = f"refused-{uuid.uuid4()}"
    with pytest.raises(InvalidInputs, match="`cache` on a node with side effects") as refused:
        await own.client.start(flow, {"x": 1}, options=asked, run_id=run_id)
    assert (refused.value.node, refused.value.field) == ("get", field)
    assert f"node 'get', field '{field}'" in str(refused.value)
    assert why in str(refused.value)
    with pytest.raises(RunNotFound):
        await own.client.run(run_id).status()
    # Whoever starts it by another client is told the same by the run, which performs nothing.
    request = RunRequest(graph=flow.document, inputs={"x": 1}, options=asked)
    await own.client.temporal.start_workflow(naming.WORKFLOW_TYPE, request, id=run_id, task_queue=own.client.task_queue)
    with pytest.raises(InvalidInputs, match="`cache` on a node with side effects"):
        await own.client.run(run_id).result()
    assert own.asked() == 0


async def test_a_node_that_is_marked_safe_may_keep_its_reply(own: Crew, name: str) -> None:
    flow = fetching(own, name, method="post")
    options = RunOptions(nodes={"get": NodeOptions(cache=CacheOptions(), retry="safe")})
    ends = [await run(own.client, flow, 1, options) for _ in range(2)]
    assert ([each.cached for each in ends], own.asked()) == ([False, True], 1)


FLOW = """
app: {mode: workflow, name: posts}
kind: app
version: 0.3.0
workflow:
  graph:
    nodes:
      - {id: start, data: {type: start, title: Start, variables: []}}
      - id: send
        data:
          type: http-request
          title: Send
          method: post
          url: http://example.com
          perdure: {cache: {ttl_s: 60}}
      - {id: end, data: {type: end, title: End, outputs: []}}
    edges:
      - {id: a, source: start, target: send, sourceHandle: source, targetHandle: target}
      - {id: b, source: send, target: end, sourceHandle: source, targetHandle: target}
"""


def test_a_flow_that_draws_it_so_does_not_load() -> None:
    with pytest.raises(InvalidGraph, match="`cache` on a node with side effects") as refused:
        Graph.load(FLOW)
    (finding,) = refused.value.findings
    assert (finding.node, finding.field) == ("send", "data.perdure.cache")
    assert "Take `cache` off" in finding.next_step
    assert Graph.load(FLOW.replace("method: post", "method: get")).nodes["send"].data.perdure.cache is not None
