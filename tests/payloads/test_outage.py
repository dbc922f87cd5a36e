"""The blob folder is away for a while: runs wait for it, and no work is done twice."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from fakes.payload_runs import NOISE, ROOMY, beside, chain, client_of, gone, history, until
from perdure.handle import RunHandle
from perdure_payloads import BlobsUnavailable
from perdure_payloads import driver as patience
from perdure_worker.embedded import EmbeddedStack


@pytest.mark.parametrize(("process", "seconds"), [(True, 7.0), (False, 3.0)])
async def test_a_run_in_flight_survives_the_folder_being_away(
    stack: EmbeddedStack, tmp_path: Path, process: bool, seconds: float
) -> None:
    """Away while a reply is to be written, while a client starts a run, and (7 s) for longer than heartbeats may be."""
    folder = tmp_path / "blobs"
    sleeping = "    import time\n    time.sleep(2)\n"
    async with beside(stack, f"away-{process}", blobs=str(folder), process=process) as own:
        client = client_of(own)
        handle = await client.start(chain(between=sleeping), {"v": {"x": NOISE}}, options=ROOMY)
        await until(lambda: _started(own, handle.run_id, "two"))
        # It has read its input; after two seconds it has something to write.
        await asyncio.sleep(0.7)
        async with gone(folder, seconds):
            left = time.monotonic()
            with pytest.raises(BlobsUnavailable, match=str(folder)):
                await client.start(chain(), {"v": {"x": NOISE + "other"}}, options=ROOMY)
        assert (await asyncio.wait_for(handle.outputs(), 60))["v"] == NOISE
        assert time.monotonic() - left >= seconds, "it did wait"
        assert await _attempts(own, handle.run_id) == {1}, "no work was done twice"


async def test_a_run_whose_input_is_away_begins_later(stack: EmbeddedStack, tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    async with beside(stack, "begins", blobs=str(folder), workers=0) as own:
        handle = await client_of(own).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
        async with gone(folder, 3.0):
            await own.add_worker()
        assert (await asyncio.wait_for(handle.outputs(), 60))["v"] == NOISE


async def test_an_activity_whose_input_is_away_for_all_its_attempts_is_started_anew(
    stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is scheduled, but a worker of its queue comes only when the folder is away."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
    folder = tmp_path / "blobs"
    async with (
        beside(stack, "anew", blobs=str(folder)) as own,
        beside(stack, "anew-code", blobs=str(folder), workers=0) as code,
    ):
        options = ROOMY.model_copy(update={"queues": {"code": "anew-code"}})
        handle = await client_of(own).start(chain(), {"v": {"x": NOISE}}, options=options)
        await until(lambda: _runs(handle, "one"))
        away = folder.with_name("away")
        folder.rename(away)
        await code.add_worker()
        # The attempts of Temporal are used up: from now on the run itself waits for the folder.
        await until(lambda: _used_up(own, handle.run_id), 40)
        away.rename(folder)
        assert (await asyncio.wait_for(handle.outputs(), 60))["v"] == NOISE
        assert (await history(own, handle.run_id)).count("EVENT_TYPE_ACTIVITY_TASK_SCHEDULED") > 2


async def _used_up(stack: EmbeddedStack, run_id: str) -> bool:
    return "EVENT_TYPE_ACTIVITY_TASK_FAILED" in await history(stack, run_id)


async def _runs(handle: RunHandle, node_id: str) -> bool:
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
