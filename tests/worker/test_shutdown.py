"""How workers end: drained, at once, or killed; and how soon what they did goes on elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psutil
import pytest
from temporalio.api.enums.v1 import EventType, PendingActivityState
from temporalio.api.history.v1 import HistoryEvent

from fakes.graphs import code, document, end, node, start
from perdure import Client, Graph, RunHandle
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.settings import WorkerSettings

LIMIT_S = 60.0


@dataclass
class Target:
    """An HTTP server that keeps every caller waiting, and knows when one goes away."""

    port: int = 0
    asked: int = 0
    gone: list[float] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        released = asyncio.ensure_future(self.release.wait())
        hung_up = asyncio.ensure_future(reader.read())
        await asyncio.wait({released, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        if hung_up.done():
            self.gone.append(time.monotonic())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ndone")
        released.cancel()
        hung_up.cancel()
        writer.close()


@pytest.fixture
async def target(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Target]:
    made = Target()
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{made.port}")
    yield made
    made.release.set()
    server.close()


@dataclass
class WorkerProcess:
    """A worker process and the queue it polls."""

    process: asyncio.subprocess.Process

    def signal(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Send a signal and give the time."""
        self.process.send_signal(number)
        return time.monotonic()

    async def exit_code(self) -> int:
        return await asyncio.wait_for(self.process.wait(), LIMIT_S)


# A worker whose requests sleep in a thread, which nothing can cancel.
STUBBORN = """
import time
from temporalio import activity
from perdure_worker import main, plugins

@activity.defn(name="send_http")
def stubborn(effect: dict) -> None:
    time.sleep(300)

known = plugins.activities
plugins.activities = lambda: [a for a in known() if plugins.activity_name(a) != "send_http"] + [stubborn]
main.main()
"""


@asynccontextmanager
async def worker(
    stack: EmbeddedStack, queue: str, program: Sequence[str] = ("-m", "perdure_worker.main"), **settings: Any
) -> AsyncIterator[WorkerProcess]:
    """A worker process that polls; killed at the end of the block if it is still there."""
    chosen = WorkerSettings(address=stack.address, task_queue=queue, **settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        "--ready-fd",
        "1",
        stdout=subprocess.PIPE,
        env={**os.environ, **chosen.to_env()},
    )
    try:
        assert process.stdout is not None
        assert json.loads(await process.stdout.readline())["ready"] is True
        yield WorkerProcess(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def until(condition: Callable[[], bool], limit_s: float = 60.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


def calls(url: str) -> Graph:
    """Start -> call -> end."""
    call = node(
        "call",
        "http-request",
        method="post",
        url=url,
        headers="",
        params="",
        authorization={"type": "no-auth", "config": None},
        body={"type": "none", "data": []},
        timeout={},
    )
    return Graph.from_document(
        document([start(), call, end(body=["call", "body"])], [("start", "call"), ("call", "end")])
    )


def asks() -> Graph:
    """Start -> ask -> end."""
    ask = node("ask", "human-input", form_content="Go on?", inputs=[], user_actions=[{"id": "go", "title": "Go"}])
    return Graph.from_document(
        document([start(x="number"), ask, end(x=["start", "x"])], [("start", "ask"), ("ask", "go", "end")])
    )


def burns() -> Graph:
    """Start -> burn -> end, where burn computes for a minute."""
    source = "def main():\n    n = 0\n    while n < 10 ** 12:\n        n += 1\n    return {'r': n}"
    return Graph.from_document(
        document(
            [start(), code("burn", source, {"r": "number"}), end(r=["burn", "r"])], [("start", "burn"), ("burn", "end")]
        )
    )


def new_queue() -> str:
    return f"shutdown-{uuid.uuid4()}"


async def history_of(stack: EmbeddedStack, handle: RunHandle) -> Sequence[HistoryEvent]:
    return (await stack.client.get_workflow_handle(handle.run_id).fetch_history()).events


async def attempts(stack: EmbeddedStack, handle: RunHandle, node_id: str) -> list[int]:
    """Attempt numbers with which the effects of a node completed."""
    events = await history_of(stack, handle)
    asked = {
        event.event_id
        for event in events
        if event.activity_task_scheduled_event_attributes.activity_id.split("#")[0] == node_id
    }
    return [
        event.activity_task_started_event_attributes.attempt
        for event in events
        if event.activity_task_started_event_attributes.scheduled_event_id in asked
    ]


async def test_sigterm_lets_an_effect_in_flight_finish_and_counts_it_once(stack: EmbeddedStack, target: Target) -> None:
    queue = new_queue()
    client = Client(stack.client, queue)
    async with worker(stack, queue, graceful_shutdown_s=30) as first:
        handle = await client.start(calls(target.url))
        await until(lambda: target.asked == 1)
        asked_to_end = first.signal()
        await asyncio.sleep(2)
        assert first.process.returncode is None, "the worker must wait for the effect"
        target.release.set()
        assert await first.exit_code() == 0
        assert time.monotonic() - asked_to_end < 20
        async with worker(stack, queue):
            assert await handle.outputs() == {"body": "done"}
    assert (target.asked, target.gone) == (1, [])
    assert await attempts(stack, handle, "call") == [1]


async def test_an_effect_longer_than_the_limit_is_cancelled_and_done_by_another_worker(
    stack: EmbeddedStack, target: Target
) -> None:
    queue = new_queue()
    async with worker(stack, queue, graceful_shutdown_s=1) as first:
        handle = await Client(stack.client, queue).start(calls(target.url))
        await until(lambda: target.asked == 1)
        async with worker(stack, queue):
            asked_to_end = first.signal()
            assert await first.exit_code() == 0
            left = time.monotonic() - asked_to_end
            await until(lambda: target.asked == 2)
            target.release.set()
            assert await handle.outputs() == {"body": "done"}
    assert len(target.gone) == 1
    assert 0.9 < target.gone[0] - asked_to_end < 4
    assert left < 15
    assert await attempts(stack, handle, "call") == [2]
    # Told, not missed: a lost heartbeat would take 5 s more.
    assert not any(
        event.activity_task_started_event_attributes.last_failure.HasField("timeout_failure_info")
        for event in await history_of(stack, handle)
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_worker_ends_at_once(stack: EmbeddedStack, number: signal.Signals) -> None:
    async with worker(stack, new_queue(), graceful_shutdown_s=60) as idle:
        begun = idle.signal(number)
        assert await idle.exit_code() == 0
        # A worker with something to wait for would take the 60 s; leaving the interpreter takes its time.
        assert time.monotonic() - begun < 15


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_a_worker_at_once(
    stack: EmbeddedStack, target: Target, number: signal.Signals
) -> None:
    queue = new_queue()
    async with worker(stack, queue, graceful_shutdown_s=60) as busy:
        handle = await Client(stack.client, queue).start(calls(target.url))
        await until(lambda: target.asked == 1)
        busy.signal()
        await asyncio.sleep(0.5)
        assert busy.process.returncode is None
        begun = busy.signal(number)
        assert await busy.exit_code() == 128 + number
        assert time.monotonic() - begun < 3
    await stack.client.get_workflow_handle(handle.run_id).terminate("test is over")


async def test_an_effect_that_cannot_be_cancelled_does_not_keep_a_worker_past_its_limit(
    stack: EmbeddedStack, target: Target
) -> None:
    queue = new_queue()
    async with worker(stack, queue, ("-c", STUBBORN), graceful_shutdown_s=1) as first:
        handle = await Client(stack.client, queue).start(calls(target.url))
        while not await attempted(stack, handle):
            await asyncio.sleep(0.05)
        begun = first.signal()
        assert await first.exit_code() == 3
        assert 5 < time.monotonic() - begun < 25
        target.release.set()
        async with worker(stack, queue):
            assert await handle.outputs() == {"body": "done"}
    assert target.asked == 1


async def attempted(stack: EmbeddedStack, handle: RunHandle) -> bool:
    """Whether an effect of the run is with a worker."""
    described = await stack.client.get_workflow_handle(handle.run_id).describe()
    pending = described.raw_description.pending_activities
    return any(found.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED for found in pending)


async def test_a_drained_worker_hands_its_runs_over_at_once(stack: EmbeddedStack) -> None:
    queue = new_queue()
    async with worker(stack, queue, sticky_timeout_s=30) as first:
        handle = await Client(stack.client, queue).start(asks(), {"x": 7})
        while not (await handle.status()).forms:
            await asyncio.sleep(0.02)
        async with worker(stack, queue, sticky_timeout_s=30):
            first.signal()
            assert await first.exit_code() == 0
            begun = time.monotonic()
            await handle.submit("ask", "go")
            assert await handle.outputs() == {"x": 7}
            # A killed worker would have kept the run waiting for its sticky timeout, here 30 s.
            assert time.monotonic() - begun < 10


async def test_a_stop_reaches_a_request_in_flight(stack: EmbeddedStack, target: Target) -> None:
    queue = new_queue()
    async with worker(stack, queue, heartbeat_interval_s=2):
        handle = await Client(stack.client, queue).start(calls(target.url))
        await until(lambda: target.asked == 1)
        await asyncio.sleep(1.5)
        assert (await handle.stop()).status == "stopped"
        begun = time.monotonic()
        await until(lambda: bool(target.gone))
        # One heartbeat of the interval, one second of the activity, and what a busy machine takes.
        assert target.gone[0] - begun < 8


async def test_a_stop_kills_code_in_flight(stack: EmbeddedStack) -> None:
    queue = new_queue()
    async with worker(stack, queue, heartbeat_interval_s=2) as busy:
        process = psutil.Process(busy.process.pid)
        handle = await Client(stack.client, queue).start(burns())

        def burning() -> list[psutil.Process]:
            return [child for child in process.children(recursive=True) if child.cpu_times().user > 1]

        await until(lambda: bool(burning()))
        (child,) = burning()
        await handle.stop()
        begun = time.monotonic()
        await until(lambda: not child.is_running())
        assert time.monotonic() - begun < 8


@pytest.mark.crash
async def test_a_kill_in_the_middle_of_a_task_costs_the_task_timeout(stack: EmbeddedStack) -> None:
    async def moment(kind: EventType.ValueType) -> float:
        """When the first event of a kind happened; waits for it."""
        while True:
            for event in await history_of(stack, handle):
                if event.event_type == kind:
                    return event.event_time.ToNanoseconds() / 1e9
            await asyncio.sleep(0.02)

    queue = new_queue()
    async with worker(stack, queue) as first, asyncio.timeout(LIMIT_S):
        await asyncio.sleep(0.5)
        # A stopped process still holds its poll: it is given the run's first task, and never does it.
        first.signal(signal.SIGSTOP)
        handle = await Client(stack.client, queue, task_timeout=timedelta(seconds=3)).start(asks(), {"x": 7})
        begun = await moment(EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED)
        first.signal(signal.SIGKILL)
        async with worker(stack, queue):
            ready = time.time()
            lost = await moment(EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT)
            again = await moment(EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED)
            assert lost - begun == pytest.approx(3, abs=0.5)
            assert again - max(lost, ready) < 5
            while not (await handle.status()).forms:
                await asyncio.sleep(0.05)
            await handle.submit("ask", "go")
            assert await handle.outputs() == {"x": 7}
