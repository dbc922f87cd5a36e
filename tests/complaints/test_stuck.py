"""Complaint 5: a run that was started, of which no node ever ran, and whose time limit was ignored."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from complaints.conftest import OwnWorker
from complaints.flows import chain, events_of, shout, until

from fakes.graphs import code
from perdure import Client, Graph, RunOptions
from perdure_worker.embedded import EmbeddedStack


def quick() -> Graph:
    return chain(shout("t", x=["start", "x"]), t=["t", "output"])


async def test_complaint_05_a_run_that_nobody_takes_says_so_and_ends_at_its_deadline(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Executions were "running", no node ever started, and the timeout that was set did nothing."""
    monkeypatch.setattr("perdure.client._GRACE", timedelta(seconds=1))
    queue = "complaint-5-nobody"
    client = Client(stack.client, queue)
    begun = time.monotonic()
    handle = await client.start(quick(), {"x": 1}, options=RunOptions(deadline_s=4))
    view = await handle.status()
    assert time.monotonic() - begun < 4, "the answer comes without a worker, and soon"
    assert (view.status, view.waiting_for_worker, view.queues) == ("running", True, [queue])
    assert view.nodes == []
    async with asyncio.timeout(15):
        result = await handle.result()
    assert 3.5 < time.monotonic() - begun < 12
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert queue in result.error.message, "the next step: a worker for that queue"
    assert (await handle.status()).status == "failed"


async def test_complaint_05_a_run_whose_node_nobody_takes_says_so_and_ends_at_its_deadline(perdure: Client) -> None:
    """The run has a worker, one of its effects has none: the queue is named, and the deadline is that of the run."""
    options = RunOptions(deadline_s=4, queues={"code": "complaint-5-snippets"})
    flow = chain(shout("t", x=["start", "x"]), code("far", "def main():\n    return {'r': 1}", {"r": "number"}))
    handle = await perdure.start(flow, {"x": 1}, options=options)
    view = await until(handle, lambda view: view.waiting_for_worker, seconds=4)
    assert view.queues == ["complaint-5-snippets"]
    assert {node.node_id: node.status for node in view.nodes}["far"] == "running"
    async with asyncio.timeout(10):
        result = await handle.result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert "deadline of 4 s; it was waiting for node 'far'" in result.error.message
    assert (await events_of(handle))[-1].type == "run_finished"


async def test_complaint_05_a_worker_that_comes_late_finds_the_run_waiting(own_worker: OwnWorker) -> None:
    """Also in the CLI, which says what the run waits for; with the worker it goes on unaided."""
    async with own_worker("complaint-5-late", workers=0) as mine:
        client = Client(mine.client, mine.task_queue, task_timeout=mine.task_timeout)
        handle = await client.start(quick(), {"x": 1})
        environment = {**os.environ, "PERDURE_ADDRESS": mine.address}
        argv = [sys.executable, "-m", "perdure.cli", "status", handle.run_id, "--json"]
        done = await asyncio.to_thread(
            subprocess.run, argv, env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        shown = json.loads(done.stdout.splitlines()[-1])
        assert (shown["waiting_for_worker"], shown["queues"]) == (True, ["complaint-5-late"])
        await mine.add_worker()
        async with asyncio.timeout(20):
            assert await handle.outputs() == {"t": "1"}
        assert not (await handle.status()).waiting_for_worker
