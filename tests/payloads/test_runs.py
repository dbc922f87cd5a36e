"""Runs whose values are large, secret, or out of reach for a while, on an embedded stack."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import string
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.graphs import code, document, end, node, start
from perdure.client import Client
from perdure_graph.errors import InvalidInputs, RunFailed
from perdure_graph.graph import Graph, graph_of
from perdure_graph.options import ValueLimits
from perdure_graph.request import RunOptions
from perdure_payloads import BlobsUnavailable, data_converter
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.processes import start_process
from perdure_worker.settings import WorkerSettings

KEYS = f"may:{base64.b64encode(bytes(range(32))).decode()}"
# Neither zstd nor the server's own compression makes this small.
NOISE = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=200_000))
ROOMY = RunOptions(
    limits=ValueLimits(text_chars=70_000_000, list_items=10_000, code_output_bytes=70_000_000, code_memory_mb=2048)
)


def settings(**given: Any) -> WorkerSettings:
    return WorkerSettings(address=None, db=None, ui_port=None, graceful_shutdown_s=1.0, **given)


def client_of(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout)


def chain(kind: str = "string", *, first: str = "v['x']", between: str = "") -> Graph:
    """start -> code -> aggregator -> code -> end; the value goes through each."""
    body = f"def main(v):\n{between}    return {{'v': v}}"
    return graph_of(
        document(
            [
                start(v="json_object"),
                code("one", f"def main(v):\n    return {{'v': {first}}}", {"v": kind}, None, v=["start", "v"]),
                node("both", "variable-aggregator", output_type=kind, variables=[["one", "v"]]),
                code("two", body, {"v": kind}, None, v=["both", "output"]),
                end(v=["two", "v"]),
            ],
            [("start", "one"), ("one", "both"), ("both", "two"), ("two", "end")],
        )
    )


async def history(stack: EmbeddedStack, run_id: str) -> str:
    return (await stack.client.get_workflow_handle(run_id).fetch_history()).to_json()


async def until(check: Any, seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.05)


@asynccontextmanager
async def gone(folder: Path, seconds: float) -> AsyncIterator[None]:
    """The folder is away for so long; the block begins once it is gone."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)

    async def back() -> None:
        await asyncio.sleep(seconds)
        away.rename(folder)

    returning = asyncio.create_task(back())
    try:
        yield
    finally:
        await returning


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["string", "array[string]"])
async def test_complaint_25_fifty_megabytes_flow_through_three_nodes(stack: EmbeddedStack, kind: str) -> None:
    text = (NOISE * 251)[:50_000_000]
    value: Any = text if kind == "string" else [text[i : i + 100_000] for i in range(0, len(text), 100_000)]
    handle = await client_of(stack).start(chain(kind), {"v": {"x": value}}, options=ROOMY)
    outputs = await handle.outputs()
    assert outputs["v"] == value
    described = await stack.client.get_workflow_handle(handle.run_id).describe()
    assert described.raw_description.workflow_execution_info.history_size_bytes < 1_000_000
    assert len(await history(stack, handle.run_id)) < 1_000_000


async def test_a_value_over_the_limit_fails_the_node_at_once_by_name(stack: EmbeddedStack) -> None:
    options = ROOMY.model_copy(update={"max_value_bytes": 300_000})
    before = time.monotonic()
    # 150 kB go in and twice that comes back, which the next effect may not be sent.
    handle = await client_of(stack).start(chain(first="v['x'] * 2"), {"v": {"x": NOISE[:150_000]}}, options=options)
    result = await asyncio.wait_for(handle.result(), 30)
    assert result.error is not None
    assert (result.error.node, result.error.type) == ("two", "PayloadTooLarge")
    assert "300,000" in result.error.message
    assert time.monotonic() - before < 15

    doubled = await client_of(stack).start(
        chain(between="    v = v * 2\n"), {"v": {"x": NOISE[:150_000]}}, options=options
    )
    with pytest.raises(RunFailed, match=r"300,000.*'v'"):
        await asyncio.wait_for(doubled.result(), 30)

    big = {"v": {"x": NOISE + NOISE}}
    with pytest.raises(InvalidInputs, match="300,000"):
        await client_of(stack).start(chain(), big, options=options)


async def test_without_blobs_the_limit_is_what_temporal_holds() -> None:
    async with embedded(settings(blobs="off"), worker_process=False) as stack:
        client = client_of(stack)
        with pytest.raises(InvalidInputs, match="2,080,768"):
            await client.start(chain(), {"v": {"x": NOISE * 11}}, options=ROOMY)
        doubling = "    v = v * 4\n"
        handle = await client.start(chain(between=doubling), {"v": {"x": NOISE * 3}}, options=ROOMY)
        result = await asyncio.wait_for(handle.result(), 30)
        assert result.error is not None and result.error.node == "two"
        assert result.error.type == "PayloadTooLarge" and "2,080,768" in result.error.message


@pytest.mark.parametrize(("worker_process", "seconds"), [(True, 8.0), (False, 3.0)])
async def test_a_run_in_flight_survives_the_folder_being_away(
    tmp_path: Path, worker_process: bool, seconds: float
) -> None:
    """Away while a reply is to be written, while a client starts a run, and (8 s) for longer than heartbeats may be."""
    folder = tmp_path / "blobs"
    sleeping = "    import time\n    time.sleep(2)\n"
    async with embedded(settings(blobs=str(folder)), worker_process=worker_process) as stack:
        client = client_of(stack)
        handle = await client.start(chain(between=sleeping), {"v": {"x": NOISE}}, options=ROOMY)
        await until(lambda: _started(stack, handle.run_id, "two"))
        # It has read its input; after two seconds it has something to write.
        await asyncio.sleep(0.7)
        async with gone(folder, seconds):
            left = time.monotonic()
            with pytest.raises(BlobsUnavailable, match=str(folder)):
                await client.start(chain(), {"v": {"x": NOISE + "other"}}, options=ROOMY)
        assert (await asyncio.wait_for(handle.outputs(), 60))["v"] == NOISE
        assert time.monotonic() - left >= seconds, "it did wait"
        assert await _attempts(stack, handle.run_id) == {1}, "no work was done twice"


@pytest.mark.parametrize("seconds", [4.0, 25.0])
async def test_inputs_that_are_away_are_read_later(tmp_path: Path, seconds: float) -> None:
    """A worker meets a task, then activities, whose inputs are away: for longer than all attempts take, too."""
    folder = tmp_path / "blobs"
    async with embedded(settings(blobs=str(folder)), workers=0) as stack:
        handle = await client_of(stack).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
        async with gone(folder, seconds):
            await stack.add_worker()
        assert (await asyncio.wait_for(handle.outputs(), 90))["v"] == NOISE


async def test_an_activity_whose_input_is_away_is_started_anew(tmp_path: Path) -> None:
    """It is scheduled, but a worker of its queue comes only when the folder is away, for longer than five attempts."""
    folder = tmp_path / "blobs"
    async with embedded(settings(blobs=str(folder))) as stack:
        options = ROOMY.model_copy(update={"queues": {"code": "elsewhere"}})
        handle = await client_of(stack).start(chain(), {"v": {"x": NOISE}}, options=options)
        await until(lambda: _runs(handle, "one"))
        elsewhere = stack.settings.model_copy(update={"task_queue": "elsewhere"})
        async with gone(folder, 25.0):
            worker = await start_process(elsewhere)
        assert (await asyncio.wait_for(handle.outputs(), 90))["v"] == NOISE
        await worker.stop()
        scheduled = (await history(stack, handle.run_id)).count("EVENT_TYPE_ACTIVITY_TASK_SCHEDULED")
        assert scheduled > 2, "the attempts of one were not enough"


async def _runs(handle: Any, node_id: str) -> bool:
    return any(n.node_id == node_id and n.status == "running" for n in (await handle.status()).nodes)


async def _started(stack: EmbeddedStack, run_id: str, key: str) -> bool:
    described = await stack.client.get_workflow_handle(run_id).describe()
    return any(
        pending.activity_id == key and pending.HasField("last_started_time")
        for pending in described.raw_description.pending_activities
    )


async def _attempts(stack: EmbeddedStack, run_id: str) -> set[int]:
    started = "activityTaskStartedEventAttributes"
    events = json.loads(await history(stack, run_id))["events"]
    return {event[started].get("attempt", 1) for event in events if started in event}


async def test_the_folder_goes_with_the_stack_or_stays_with_its_file(tmp_path: Path) -> None:
    async with embedded(settings()) as stack:
        temporary = Path(stack.blobs)
        assert temporary.is_dir()
    assert not temporary.exists()

    db = tmp_path / "runs.db"
    async with embedded(settings(), db=db, worker_process=False) as stack:
        handle = await client_of(stack).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
        await handle.outputs()
    assert Path(stack.blobs) == tmp_path / "runs.db.blobs"
    async with embedded(settings(), db=db, worker_process=False) as stack:
        again = client_of(stack).run(handle.run_id)
        assert (await again.outputs())["v"] == NOISE


async def test_s3_carries_a_run(bucket: str) -> None:
    async with embedded(settings(blobs=bucket)) as stack:
        handle = await client_of(stack).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
        assert (await handle.outputs())["v"] == NOISE
        assert len(await history(stack, handle.run_id)) < 100_000


async def test_an_encrypted_run_shows_nothing_in_its_history() -> None:
    async with embedded(settings(keys=KEYS)) as stack:
        client = client_of(stack)
        raising = chain(between="    raise ValueError('canary in a failure ' + v[:6])\n")
        good = await client.start(chain(), {"v": {"x": "canary-value"}})
        assert (await good.outputs())["v"] == "canary-value"
        bad = await client.start(raising, {"v": {"x": "canary-value"}})
        result = await bad.result()
        assert result.error is not None and "canary in a failure canary" in result.error.message
        for run in (good, bad):
            shown = await history(stack, run.run_id)
            raw = (await stack.client.get_workflow_handle(run.run_id).fetch_history()).events
            everything = shown.encode() + b"".join(event.SerializeToString() for event in raw)
            assert b"canary" not in everything
            assert b"canary" not in base64.b64decode(shown.encode(), validate=False)
            assert b"binary/encrypted" in everything
        # Whoever lacks the key is told which.
        blind = await Client.connect(
            stack.address, task_queue=stack.task_queue, data_converter=data_converter(settings(blobs=stack.blobs))
        )
        with pytest.raises(Exception, match="'may'"):
            await blind.run(good.run_id).result()


async def test_keys_rotate_under_an_open_run(tmp_path: Path) -> None:
    """A run that waits is started with one key and finished by workers that encrypt with another."""
    june = f"june:{base64.b64encode(bytes(range(1, 33))).decode()}"
    ask = node(
        "ask",
        "human-input",
        form_content="go?",
        inputs=[],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=1,
        timeout_unit="day",
    )
    flow = document([start(x="number"), ask, end(x=["start", "x"])], [("start", "ask"), ("ask", "go", "end")])
    db = tmp_path / "runs.db"
    async with embedded(settings(keys=KEYS), db=db) as stack:
        handle = await client_of(stack).start(graph_of(flow), {"x": 3})
        await until(lambda: _waits(handle))
    async with embedded(settings(keys=f"{june},{KEYS}"), db=db) as stack:
        handle = client_of(stack).run(handle.run_id)
        await handle.submit("ask", "go")
        assert await handle.outputs() == {"x": 3}
        used = await history(stack, handle.run_id)
        assert base64.b64encode(b"may").decode() in used and base64.b64encode(b"june").decode() in used


async def _waits(handle: Any) -> bool:
    return bool((await handle.status()).forms)
