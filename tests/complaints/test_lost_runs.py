"""Complaints about runs that nobody owns any more after a crash."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from complaints.conftest import OwnWorker
from complaints.flows import (
    Target,
    ask,
    call,
    chain,
    client_of,
    events_of,
    graph,
    reached,
    scheduled,
    shout,
    stored,
    until,
)
from temporalio.client import WorkflowExecutionStatus

from fakes.graphs import code, end, iteration
from perdure import Client, CommandRefused, Graph, RunHandle
from perdure_graph.effects import EffectMeta
from perdure_store.recorder import Recorder
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

SPIN = "def main(x):\n    n = 0\n    while n < 1_500_000: n += 1\n    return {'r': x}"
BOUND_S = 30.0


def busy(url: str) -> Graph:
    """A call, a snippet and an iteration in flight at once, then a join."""
    per_item = call("each", url + "/hold?of=item{{#it.index#}}", "it", isInIteration=True, iteration_id="it")
    nested = iteration(["start", "items"], [per_item], [("its", "each")], ["each", "body"], is_parallel=True)
    items = code("items", "def main():\n    return {'l': [1, 2, 3]}", {"l": "array[number]"})
    inside = [spec for spec in nested.nodes if spec.id in ("it", "its", "each")]
    inside[0] = inside[0].model_copy(update={"data": {**inside[0].data, "iterator_selector": ["items", "l"]}})
    return graph(
        [
            call("hold", url + "/hold?of=hold"),
            code("spin", SPIN, {"r": "number"}, x=["start", "x"]),
            items,
            *inside,
            shout("join", x=["spin", "r"], a=["hold", "body"]),
            end(text=["join", "output"], each=["it", "output"]),
        ],
        [
            *(("start", name) for name in ("hold", "spin", "items")),
            ("items", "it"),
            ("its", "each"),
            *((name, "join") for name in ("hold", "spin", "it")),
            ("join", "end"),
        ],
    )


@pytest.mark.crash
async def test_complaint_01_a_worker_killed_in_the_middle_of_every_kind_of_node_leaves_no_run_behind(
    mortal: EmbeddedStack, target: Target
) -> None:
    """Runs were "running" for hours after their worker had died, without a line in the log."""
    perdure = client_of(mortal)
    handles = [await perdure.start(busy(target.url("")), {"x": number}) for number in range(3)]
    await reached(lambda: len(target.requests) == 3 * 4)
    await mortal.kill_worker()
    for handle in handles:
        described = await perdure.temporal.get_workflow_handle(handle.run_id).describe()
        assert described.status is WorkflowExecutionStatus.RUNNING
    target.release.set()
    await mortal.restart_worker()
    async with asyncio.timeout(BOUND_S):
        outputs = [await handle.outputs() for handle in handles]
    assert outputs == [{"text": f"{number} OK", "each": ["ok"] * 3} for number in range(3)]
    for handle in handles:
        events = await events_of(handle)
        started = [(e.frame, e.node_id) for e in events if e.type == "node_started"]
        finished = [(e.frame, e.node_id) for e in events if e.type == "node_finished"]
        assert len(set(started)) == len(started), "a node began twice"
        assert sorted(started) == sorted(finished), "the log tells how everything that began has ended"
        assert max((await scheduled(perdure.temporal, handle.run_id)).values()) == 1


@pytest.mark.crash
async def test_complaint_03_server_and_worker_die_at_once_and_all_open_runs_go_on_unaided(
    target: Target, tmp_path: Path, worker_settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restart the runs were "running" for ever, and there was no way to get them back."""
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
    settings = worker_settings.model_copy(update={"task_queue": "complaint-3"})
    db = tmp_path / "runs.db"
    call_flow = chain(call("hold", target.url("/hold?of=hold")), shout("t", x=["start", "x"]), t=["t", "output"])
    form_flow = chain(call("once", target.url("/hit?of=once")), ask("ask"), note=["ask", "note"])
    retried = {"retry_enabled": True, "max_retries": 3, "retry_interval": 1500}
    retry_flow = chain(code("bad", "def main():\n    raise ValueError", {"r": "number"}), r=["bad", "r"])
    retry_flow = Graph.from_document(
        retry_flow.document.model_copy(
            update={
                "nodes": tuple(
                    spec.model_copy(update={"data": {**spec.data, "retry_config": retried}})
                    if spec.id == "bad"
                    else spec
                    for spec in retry_flow.document.nodes
                )
            }
        )
    )
    async with embedded(settings, db=db) as first:
        perdure = client_of(first)
        runs = [
            (await perdure.start(flow, {"x": 7}, run_id=name)).run_id
            for name, flow in (("call", call_flow), ("form", form_flow), ("paused", form_flow), ("retry", retry_flow))
        ]
        assert runs == ["call", "form", "paused", "retry"]
        await reached(lambda: target.hits() == {"hold": 1, "once": 2})
        await until(perdure.run("form"), "paused")
        await until(perdure.run("paused"), "paused")
        await perdure.run("paused").pause("over night")
        await until(perdure.run("retry"), lambda view: any(n.node_id == "bad" and n.attempt > 1 for n in view.nodes))
        assert first.server_pid is not None
        os.kill(first.server_pid, signal.SIGKILL)
        await first.kill_worker()
    target.release.set()
    async with embedded(settings, db=db) as second:
        perdure = client_of(second)
        async with asyncio.timeout(BOUND_S):
            assert await perdure.run("call").outputs() == {"t": "7"}
            assert (await perdure.run("form").status()).forms != []
            await perdure.run("form").submit("ask", "go", {"note": "n"})
            assert await perdure.run("form").outputs() == {"note": "n"}
            assert (await perdure.run("paused").status()).status == "paused"
            await perdure.run("paused").resume()
            await perdure.run("paused").submit("ask", "go", {"note": "m"})
            assert await perdure.run("paused").outputs() == {"note": "m"}
            result = await perdure.run("retry").result()
            tries = [e.retry_index for e in await events_of(perdure.run("retry")) if e.type == "node_retry"]
        assert (result.status, result.error and result.error.node) == ("failed", "bad")
        assert tries == [1, 2, 3], "the crash neither forgot an attempt nor added one"
        assert target.hits("once") == {"once": 2}, "what was done before the crash was not done again"
        for run_id in runs:
            await events_of(perdure.run(run_id))


@pytest.mark.crash
async def test_complaint_04_the_end_of_a_run_is_written_once(mortal: EmbeddedStack, target: Target) -> None:
    """After a restart of the worker, runs that had finished were shown as crashed."""
    good = chain(shout("t", x=["start", "x"]), t=["t", "output"])
    bad = chain(code("bad", "def main():\n    raise ValueError('no')", {"r": "number"}), r=["bad", "r"])
    long = chain(call("hold", target.url("/hold?of=hold")), t=["hold", "body"])
    perdure = client_of(mortal)
    handles = [await perdure.start(flow, {"x": 1}) for flow in (good, bad, long)]
    await reached(lambda: target.hits() == {"hold": 1})
    await handles[2].stop("enough")
    before = [await picture(mortal, handle) for handle in handles]
    assert [each["status"] for each in before] == ["succeeded", "failed", "stopped"]
    await mortal.kill_worker()
    target.release.set()  # the answer to the stopped run's call, too late
    await mortal.restart_worker()
    assert [await picture(mortal, handle) for handle in handles] == before
    for handle in handles:
        for command in (handle.pause, handle.resume, handle.stop):
            with pytest.raises(CommandRefused, match="has ended"):
                await command()
        workflow = perdure.temporal.get_workflow_handle(handle.run_id)
        with pytest.raises(Exception, match="already completed"):
            await workflow.terminate("recovery")
    assert [await picture(mortal, handle) for handle in handles] == before
    listed = {run.run_id: run.status for run in await perdure.list(limit=500)}
    assert [listed[handle.run_id] for handle in handles] == ["succeeded", "failed", "stopped"]


async def test_complaint_04_nothing_that_comes_late_changes_the_record_of_an_end(
    perdure: Client, tmp_path: Path
) -> None:
    """In the run store too the end is written once, whatever is recorded again, in whatever order."""
    handle = await perdure.start(chain(ask("ask"), shout("t", x=["start", "x"]), t=["t", "output"]), {"x": 1})
    await until(handle, lambda view: bool(view.forms))
    await handle.submit("ask", "go")
    assert await handle.outputs() == {"t": "1"}
    events = [event.model_dump(mode="json") for event in await events_of(handle)]
    late = [
        events[0] | {"seq": events[-1]["seq"] + 1, "type": "run_resumed"},
        events[-1] | {"seq": events[-1]["seq"] + 2, "status": "failed", "error": "crashed", "outputs": {}},
        events[-1] | {"status": "failed", "error": "crashed", "outputs": {}},
    ]
    order = random.Random(4)
    for number in range(8):
        db = tmp_path / f"store{number}.db"
        recorder = Recorder(f"sqlite:///{db}", limit_s=20)
        shuffled = order.sample(events, len(events))
        cut = order.randrange(1, len(events))
        batches = [shuffled[:cut], shuffled[cut:], *([event] for event in late), events[:cut], events, late]
        for batch in batches:
            meta = EffectMeta(run_id="r", scope="", key="k", idempotency_key="k", events=tuple(batch))
            assert await recorder.record(meta) == "yes"
        await recorder.close()
        with closing(sqlite3.connect(db)) as found:
            rows = found.execute("SELECT status, outputs, error, finished_at FROM runs").fetchall()
        assert rows == [("succeeded", '{"t": "1"}', None, events[-1]["at"])]


async def picture(stack: EmbeddedStack, handle: RunHandle) -> dict[str, Any]:
    """All that a reader can see of a run that has ended, in the run and in the run store."""
    result = await handle.result()
    view = await handle.status()
    assert view.status == result.status
    record, log = await stored(stack, handle.run_id)
    events = await events_of(handle)
    assert (record.status, record.finished_at) == (result.status, events[-1].at)
    shown = view.model_dump(exclude={"elapsed"})
    return {**result.model_dump(), "events": events, "view": shown, "record": record, "log": log}


@pytest.mark.crash
async def test_complaint_06_a_ghost_does_not_keep_its_slot(own_worker: OwnWorker, target: Target) -> None:
    """Runs that had died in a crash went on counting as running, and nothing behind them ever started."""
    hold = chain(call("hold", target.url("/hold?of=hold")), t=["hold", "body"])
    quick = chain(shout("t", x=["start", "x"]), t=["t", "output"])
    async with own_worker("complaint-6", max_concurrent_activities=1, heartbeat_interval_s=0.5) as mine:
        perdure = client_of(mine)
        for number, end_it in enumerate(("terminate", "stop", "kill")):
            ghost = await perdure.start(hold, {})
            await reached(lambda count=number + 1: target.hits()["hold"] == count)
            behind = [await perdure.start(quick, {"x": x}) for x in range(3)]
            if end_it == "terminate":
                await perdure.temporal.get_workflow_handle(ghost.run_id).terminate("gone")
            elif end_it == "stop":
                await ghost.stop()
            else:
                await mine.kill_worker()
                await perdure.temporal.get_workflow_handle(ghost.run_id).terminate("gone")
                await mine.restart_worker()
            async with asyncio.timeout(BOUND_S):
                assert [await handle.outputs() for handle in behind] == [{"t": str(x)} for x in range(3)]
        assert target.hits() == {"hold": 3}, "a dead run was not begun again"
