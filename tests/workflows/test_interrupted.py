"""A worker is killed in the middle of an effect that must not be repeated blindly: somebody is asked, nothing is sent
twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.graphs import document, end, node, start
from fakes.http_server import HttpServer, http_server
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_graph.events import NodeHeld, NodeReleased
from perdure_graph.view import RunView
from perdure_worker.embedded import EmbeddedStack, embedded

QUEUE = "interrupted"


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async with http_server() as server:
        yield server


@asynccontextmanager
async def own_worker(stack: EmbeddedStack, target: HttpServer) -> AsyncIterator[EmbeddedStack]:
    """Run a worker that may be killed, on the session's server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
        async with embedded(stack.settings.model_copy(update={"task_queue": QUEUE})) as mine:
            yield mine


def paying(target: HttpServer, **data: Any) -> Graph:
    call = node(
        "pay",
        "http-request",
        method="post",
        url=target.url("/wait"),
        headers="",
        params="",
        authorization={"type": "no-auth", "config": None},
        body={"type": "none", "data": []},
        timeout={},
        **data,
    )
    return Graph.from_document(document([start(), call, end(out=["pay", "body"])], [("start", "pay"), ("pay", "end")]))


async def until(handle: RunHandle, met: Callable[[RunView], Any]) -> RunView:
    async with asyncio.timeout(60):
        while not met(view := await handle.status()):
            await asyncio.sleep(0.05)
        return view


async def asked(target: HttpServer, times: int) -> None:
    async with asyncio.timeout(30):
        while len(target.requests) < times:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("outputs", [None, {"body": "seen in their books", "status_code": 200}])
async def test_an_interrupted_payment_asks_the_operator(
    stack: EmbeddedStack, target: HttpServer, outputs: dict[str, Any] | None
) -> None:
    """`on_failure` is not set, and the graph's own retries and error branch are not taken either."""
    retries = {"retry_enabled": True, "max_retries": 3, "retry_interval": 100}
    flow = paying(target, perdure={"retry": "never"}, retry_config=retries)
    async with own_worker(stack, target) as mine:
        handle = await Client(mine.client, QUEUE, task_timeout=mine.task_timeout).start(flow)
        await asked(target, 1)
        await mine.kill_worker()
        await mine.restart_worker()
        view = await until(handle, lambda view: view.held)
        assert (view.status, view.held[0].key, view.held[0].reason) == ("paused", "pay", "interrupted")
        assert len(target.requests) == 1
        target.release.set()
        await handle.retry("pay", outputs)
        assert await handle.outputs() == {"out": "at last" if outputs is None else "seen in their books"}
        keys = [request.header("Idempotency-Key") for request in target.requests]
        assert len(set(keys)) == len(keys) == (2 if outputs is None else 1), (
            "an operator's retry is a new piece of work"
        )
        events = [event async for event in handle.events()]
        assert [type(event) for event in events if isinstance(event, NodeHeld | NodeReleased)] == [
            NodeHeld,
            NodeReleased,
        ]


async def test_a_payment_that_may_be_repeated_is_sent_again_under_its_key(
    stack: EmbeddedStack, target: HttpServer
) -> None:
    async with own_worker(stack, target) as mine:
        handle = await Client(mine.client, QUEUE, task_timeout=mine.task_timeout).start(
            paying(target), options=RunOptions(on_failure="wait")
        )
        await asked(target, 1)
        await mine.kill_worker()
        await mine.restart_worker()
        await asked(target, 2)
        target.release.set()
        assert await handle.outputs() == {"out": "at last"}
        assert len({request.header("Idempotency-Key") for request in target.requests}) == 1
