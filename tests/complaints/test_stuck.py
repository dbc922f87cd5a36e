"""Complaint 5: a run that was started, of which no node ever ran, and whose time limit was ignored."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest
from complaints.conftest import OwnWorker
from complaints.flows import chain, cli, client_of, events_of, shout, until

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
    limited = await client.start(quick(), {"x": 1}, options=RunOptions(deadline_s=2))
    patient = await client.start(quick(), {"x": 1})
    async with asyncio.timeout(15):
        view = await patient.status()
    assert (view.status, view.waiting_for_worker, view.queues) == ("running", True, [queue])
    assert view.nodes == []
    async with asyncio.timeout(15):
        result = await limited.result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert 2 <= result.elapsed < 10
    assert queue in result.error.message, "the next step: a worker for that queue"
    assert (await limited.status()).status == "failed"
    assert (await patient.status()).status == "running", "without a deadline it waits on"
    await client.temporal.get_workflow_handle(patient.run_id).terminate()


async def test_complaint_05_a_run_whose_node_nobody_takes_says_so_and_ends_at_its_deadline(perdure: Client) -> None:
    """The run has a worker, one of its effects has none: the queue is named, and the deadline is that of the run."""
    flow = chain(shout("t", x=["start", "x"]), code("far", "def main():\n    return {'r': 1}", {"r": "number"}))
    elsewhere = {"code": "complaint-5-snippets"}
    limited = await perdure.start(flow, {"x": 1}, options=RunOptions(deadline_s=3, queues=elsewhere))
    patient = await perdure.start(flow, {"x": 1}, options=RunOptions(queues=elsewhere))
    view = await until(patient, lambda view: view.waiting_for_worker)
    assert (view.status, view.queues) == ("running", ["complaint-5-snippets"])
    assert {node.node_id: node.status for node in view.nodes}["far"] == "running"
    async with asyncio.timeout(15):
        result = await limited.result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert "deadline of 3 s; it was waiting for node 'far'" in result.error.message
    assert (await events_of(limited))[-1].type == "run_finished"
    await patient.stop()


async def test_complaint_05_a_worker_that_comes_late_finds_the_run_waiting(own_worker: OwnWorker) -> None:
    """Also in the CLI, which says what the run waits for; with the worker it goes on unaided."""
    async with own_worker("complaint-5-late", workers=0) as mine:
        handle = await client_of(mine).start(quick(), {"x": 1})
        shown = json.loads((await cli(mine, "status", handle.run_id, "--json")).splitlines()[-1])
        assert (shown["waiting_for_worker"], shown["queues"]) == (True, ["complaint-5-late"])
        await mine.add_worker()
        async with asyncio.timeout(30):
            assert await handle.outputs() == {"t": "1"}
        assert not (await handle.status()).waiting_for_worker
