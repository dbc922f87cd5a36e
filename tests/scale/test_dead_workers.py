"""What a dead worker leaves behind takes nobody's place, and neither does a run that waits for a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from scale.flows import asked, asks

from fakes.http_server import HttpServer, http_server
from perdure import Client, RunOptions
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

GHOSTS = 3


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async with http_server() as server:
        yield server


@pytest.fixture
async def own(
    stack: EmbeddedStack, worker_settings: WorkerSettings, target: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddedStack]:
    """A worker to be killed, on the session's server, with one slot more than there will be ghosts."""
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
    changes = {"address": stack.address, "task_queue": "scale-ghosts", "max_concurrent_activities": GHOSTS + 1}
    async with embedded(worker_settings.model_copy(update=changes)) as mine:
        yield mine


@pytest.mark.crash
async def test_complaint_6_runs_of_a_dead_worker_take_no_slot_from_new_ones(
    own: EmbeddedStack, target: HttpServer
) -> None:
    """Ghost runs after a crash blocked the whole queue."""
    client = Client(own.client, own.task_queue, task_timeout=own.task_timeout)
    ghosts = [await client.start(asks(target.url("/wait"))) for _ in range(GHOSTS)]
    async with asyncio.timeout(30):
        while asked(target, "/wait") < GHOSTS:
            await asyncio.sleep(0.02)
    await own.kill_worker()
    await own.restart_worker()
    async with asyncio.timeout(60):
        # Three of four slots are taken again by the runs that came back to life; the dead ones hold none.
        while asked(target, "/wait") < 2 * GHOSTS:
            await asyncio.sleep(0.02)
        new = [await client.start(asks(target.url("/json"))) for _ in range(2 * GHOSTS)]
        assert [await each.outputs() for each in new] == [{"said": '{"ok":true}'}] * len(new)
        assert {(await each.status()).status for each in ghosts} == {"running"}
        target.release.set()
        assert [await each.outputs() for each in ghosts] == [{"said": "at last"}] * GHOSTS


async def test_complaint_6_runs_that_no_worker_serves_do_not_block_the_others(
    own: EmbeddedStack, target: HttpServer
) -> None:
    """One kind waits for a worker of its own queue, one for a worker of the queue of its HTTP calls."""
    client = Client(own.client, own.task_queue, task_timeout=own.task_timeout)
    nowhere = Client(own.client, "scale-nobody")
    elsewhere = RunOptions(queues={"http": "scale-nobody"})
    waiting = [await nowhere.start(asks(target.url("/json"))) for _ in range(GHOSTS)]
    stuck = [await client.start(asks(target.url("/json")), options=elsewhere) for _ in range(2 * GHOSTS)]
    async with asyncio.timeout(30):
        new = [await client.start(asks(target.url("/json"))) for _ in range(GHOSTS)]
        assert [await each.outputs() for each in new] == [{"said": '{"ok":true}'}] * GHOSTS
    assert asked(target, "/json") == GHOSTS
    assert {(await each.status()).status for each in stuck} == {"running"}
    for each in stuck:
        assert (await each.stop()).status == "stopped"
    for each in waiting:
        await own.client.get_workflow_handle(each.run_id).terminate()
