"""Events that a worker sees together lead to the same as events that it sees one by one; no replay tells them apart."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from fakes.graphs import code, document, end, node, start
from fakes.http_server import HttpServer, http_server
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_worker.embedded import EMBEDDED_STICKY_S, EmbeddedStack, embedded
from perdure_worker.replay import replay

COMPLETED = EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED
FIRED = EventType.EVENT_TYPE_TIMER_FIRED
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
TASK_DONE = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async with http_server() as server:
        yield server


@asynccontextmanager
async def apart(stack: EmbeddedStack, queue: str) -> AsyncGenerator[tuple[EmbeddedStack, Client, RunOptions]]:
    """Have one worker for runs and another for their HTTP calls; gives that of the runs, which a test may kill."""
    runs = stack.settings.model_copy(update={"task_queue": queue})
    calls = stack.settings.model_copy(update={"task_queue": f"{queue}-calls"})
    async with embedded(runs) as own, embedded(calls):
        client = Client(own.client, own.task_queue, task_timeout=own.task_timeout)
        yield own, client, RunOptions(queues={"http": calls.task_queue})


def calling(url: str) -> Graph:
    """start -> slow (HTTP) -> next (code) -> end."""
    nothing = {"authorization": {"type": "no-auth", "config": None}, "body": {"type": "none", "data": []}}
    slow = node("slow", "http-request", method="get", url=url, headers="", params="", timeout={}, **nothing)
    last = code("next", "def main(x):\n    return {'r': len(x)}", {"r": "number"}, x=["slow", "body"])
    edges = [("start", "slow"), ("slow", "next"), ("next", "end")]
    return Graph.from_document(document([start(x="number"), slow, last, end(r=["next", "r"])], edges))


async def history(client: Client, run: RunHandle) -> list[HistoryEvent]:
    return list((await client.temporal.get_workflow_handle(run.run_id).fetch_history()).events)


def kinds(events: Sequence[HistoryEvent]) -> list[int]:
    return [event.event_type for event in events]


async def both_unseen(
    client: Client, options: RunOptions, own: EmbeddedStack, target: HttpServer
) -> tuple[RunHandle, list[HistoryEvent]]:
    """Start a run and let a reply and a timer happen while no worker is there to see them."""
    before = len(target.requests)
    run = await client.start(calling(target.url("/wait")), {"x": 1}, options=options)
    while len(target.requests) <= before:
        await asyncio.sleep(0.01)
    # An event that no effect carries: half a second later the log would send it by itself.
    await run.set_variables({"start": {"x": 2}})
    os.kill(own.worker_pids[0], signal.SIGKILL)
    target.release.set()
    while FIRED not in kinds(await history(client, run)):
        await asyncio.sleep(0.05)
    target.release.clear()
    return run, await history(client, run)


async def test_a_reply_and_a_timer_that_come_together_are_taken_in_turn(
    stack: EmbeddedStack, target: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reply first: what it leads to takes the events along, so the timer of the log finds nothing to record."""
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
    async with apart(stack, "together") as (own, client, options), asyncio.timeout(100):
        # The first effect of a worker may wait for the run store to open.
        await (await client.start(calling(target.url("/json")), {"x": 1}, options=options)).outputs()
        # On a busy machine the reply may be the later one; that shows nothing, so try again.
        while True:
            run, seen = await both_unseen(client, options, own, target)
            if COMPLETED in kinds(seen) and kinds(seen).index(COMPLETED) < kinds(seen).index(FIRED):
                break
            await own.restart_worker()
            await run.result()
        await own.restart_worker()
        assert (await run.result()).outputs == {"r": 7}
        after = (await history(client, run))[len(seen) :]
        asked = [e.activity_task_scheduled_event_attributes.activity_id for e in after if e.event_type == SCHEDULED]
        assert asked[0] == "next"
        first = after[kinds(after).index(TASK_DONE) + 1 :]
        commands = kinds(first)[: kinds(first).index(EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED)]
        assert commands.count(SCHEDULED) == 1, "the log asked for an effect of its own"
        whole = client.temporal.get_workflow_handle(run.run_id)

        async def histories() -> AsyncIterator[object]:
            yield await whole.fetch_history()

        assert [found.error async for found in replay(histories(), client.temporal.data_converter)] == [None]


async def test_nobody_is_shown_what_no_task_has_handled(
    stack: EmbeddedStack, target: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is asked for a run whose reply still waits for its task; then a pause comes, which goes first."""
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
    async with apart(stack, "unhandled") as (own, client, options), asyncio.timeout(60):
        run = await client.start(calling(target.url("/wait")), {"x": 1}, options=options)
        while not target.requests:
            await asyncio.sleep(0.01)
        shown: list[tuple[int, str]] = []

        async def watch() -> None:
            async for event in run.events():
                shown.append((event.seq, event.type))

        async with embedded(own.settings):
            os.kill(own.worker_pids[0], signal.SIGKILL)
            # Questions and tasks wait for the dead worker first, each for as long: so the question is there before.
            watching = asyncio.create_task(watch())
            await asyncio.sleep(EMBEDDED_STICKY_S / 2)
            target.release.set()
            while COMPLETED not in kinds(await history(client, run)):
                await asyncio.sleep(0.05)
            await asyncio.sleep(EMBEDDED_STICKY_S * 0.75)
            await client.temporal.get_workflow_handle(run.run_id).signal("pause")
            while (await run.status()).status != "paused":
                await asyncio.sleep(0.05)
            await run.resume()
            assert (await run.result()).outputs == {"r": 7}
            await watching
            assert shown == [(event.seq, event.type) async for event in run.events()]
