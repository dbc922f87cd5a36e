"""Encrypted runs on a real server: nothing to read in a history, keys that rotate, and keys that are missing."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fakes.graphs import document, end, start
from fakes.payload_runs import NOISE, ROOMY, beside, chain, client_of, form, history, settings, until, waits
from perdure.client import Client
from perdure_graph.graph import graph_of
from perdure_payloads import KeyUnknown, data_converter
from perdure_worker.embedded import EmbeddedStack


def key(name: str, start: int) -> str:
    return f"{name}:{base64.b64encode(bytes(range(start, start + 32))).decode()}"


MAY, JUNE = key("may", 0), key("june", 1)
ASKING = graph_of(
    document([start(v="json_object"), form("ask"), end(v=["start", "v"])], [("start", "ask"), ("ask", "go", "end")])
)


@pytest.fixture
async def may(stack: EmbeddedStack, tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    async with beside(stack, "may", keys=MAY, blobs=str(tmp_path / "blobs")) as own:
        yield own


async def reader(stack: EmbeddedStack, keys: str | None) -> Client:
    converter = data_converter(settings(blobs=stack.blobs, keys=keys))
    return await Client.connect(stack.address, task_queue=stack.task_queue, data_converter=converter)


async def test_an_encrypted_run_shows_nothing_in_its_history(may: EmbeddedStack) -> None:
    client = client_of(may)
    raising = chain(between="    raise ValueError('canary in a failure ' + v[:6])\n")
    good = await client.start(chain(), {"v": {"x": "canary-value"}})
    assert (await good.outputs())["v"] == "canary-value"
    bad = await client.start(raising, {"v": {"x": "canary-value"}})
    result = await bad.result()
    assert result.error is not None and "canary in a failure canary" in result.error.message
    for run in (good, bad):
        raw = (await may.client.get_workflow_handle(run.run_id).fetch_history()).events
        everything = b"".join(event.SerializeToString() for event in raw)
        assert b"canary" not in everything
        assert b"binary/encrypted" in everything


async def test_blobs_are_encrypted_too(may: EmbeddedStack) -> None:
    handle = await client_of(may).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
    assert (await handle.outputs())["v"] == NOISE
    blobs = [path.read_bytes() for path in Path(may.blobs).rglob("*") if path.is_file() and path.stat().st_size]
    assert any(len(blob) > 150_000 for blob in blobs)
    assert not any(NOISE[:40].encode() in blob for blob in blobs)


async def test_who_lacks_the_key_is_told_which_and_where_to_put_it(may: EmbeddedStack) -> None:
    handle = await client_of(may).start(chain(), {"v": {"x": "canary-value"}})
    await handle.outputs()
    for keys in (None, JUNE):
        with pytest.raises(KeyUnknown, match=r"'may'.*PERDURE_KEYS"):
            await (await reader(may, keys)).run(handle.run_id).result()


async def test_keys_rotate_under_an_open_run(may: EmbeddedStack) -> None:
    """As docs/payloads.md has it: all get the new key behind the old one, then in front of it."""
    value: dict[str, Any] = {"x": NOISE}
    early = await client_of(may).start(ASKING, {"v": value})
    await until(lambda: waits(early))
    await may.stop_workers()
    blobs = may.blobs
    async with beside(may, "may", keys=f"{MAY},{JUNE}", blobs=blobs) as behind:
        # Whoever is ahead writes with the new key already, and all can read it.
        late = await (await reader(behind, f"{JUNE},{MAY}")).start(ASKING, {"v": value})
        await until(lambda: waits(late))
    async with beside(may, "may", keys=f"{JUNE},{MAY}", blobs=blobs) as front:
        for handle in (early, late):
            again = client_of(front).run(handle.run_id)
            await again.submit("ask", "go")
            assert (await again.outputs())["v"] == value
        used = await history(front, early.run_id)
        assert base64.b64encode(b"may").decode() in used and base64.b64encode(b"june").decode() in used
        fresh = await client_of(front).start(chain(), {"v": {"x": "only june"}})
        await fresh.outputs()
    only = await reader(may, JUNE)
    assert (await only.run(fresh.run_id).outputs())["v"] == "only june"


async def test_a_run_waits_while_its_workers_lack_the_key(may: EmbeddedStack) -> None:
    await may.stop_workers()
    handle = await client_of(may).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
    async with beside(may, "may", keys=JUNE, blobs=may.blobs):
        await until(lambda: _failed_task(may, handle.run_id))
    shown = await client_of(may).temporal.get_workflow_handle(handle.run_id).describe()
    assert shown.status is not None and shown.status.name == "RUNNING"
    async with beside(may, "may", keys=f"{JUNE},{MAY}", blobs=may.blobs):
        reading = (await reader(may, f"{JUNE},{MAY}")).run(handle.run_id)
        assert (await asyncio.wait_for(reading.outputs(), 60))["v"] == NOISE


async def _failed_task(stack: EmbeddedStack, run_id: str) -> bool:
    return "EVENT_TYPE_WORKFLOW_TASK_FAILED" in await history(stack, run_id)
