"""Runs whose values are large: through three nodes, over the limit, without blobs, in S3, read by whoever asks."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from fakes.payload_runs import NOISE, ROOMY, Cli, beside, chain, client_of, history, settings
from perdure.client import Client
from perdure.dev_state import DevStack, announced
from perdure_graph.errors import InvalidInputs
from perdure_payloads.collect import collect
from perdure_payloads.inventory import S3Store
from perdure_payloads.place import read_place
from perdure_payloads.s3 import S3Client
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.replay import replay


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


LIMITED = ROOMY.model_copy(update={"max_value_bytes": 300_000})


@pytest.mark.parametrize(
    ("flow", "node_id", "named"),
    [
        (chain(first="v['x'] * 3"), "one", r"node 'one' got from 'run_code' 450,\d+ bytes.*'result.v'.*300,000"),
        (chain(between="    v = v * 3\n"), "two", r"node 'two' got from 'run_code' 450,\d+ bytes.*'result.v'.*300,000"),
        # The reply just fits; what the next node asks for, its code included, does not.
        (
            chain(first="(v['x'] * 2)[:299900]"),
            "two",
            r"node 'two' gives 'run_code' 300,\d+ bytes.*'inputs.v'.*300,000",
        ),
    ],
)
async def test_complaint_25_a_value_over_the_limit_fails_the_node_at_once_by_name(
    stack: EmbeddedStack, flow: Any, node_id: str, named: str
) -> None:
    before = time.monotonic()
    handle = await client_of(stack).start(flow, {"v": {"x": NOISE[:150_000]}}, options=LIMITED)
    result = await asyncio.wait_for(handle.result(), 30)
    assert result.error is not None
    assert (result.error.node, result.error.type) == (node_id, "PayloadTooLarge")
    assert re.search(named, result.error.message), result.error.message
    assert time.monotonic() - before < 15


async def test_a_value_over_the_limit_is_not_tried_again(stack: EmbeddedStack) -> None:
    """Though the node has retries: another attempt would be as large."""
    retrying = {"retry_config": {"retry_enabled": True, "max_retries": 3, "retry_interval": 5_000}}
    flow = chain(first="v['x'] * 3", **retrying)
    handle = await client_of(stack).start(flow, {"v": {"x": NOISE[:150_000]}}, options=LIMITED)
    result = await asyncio.wait_for(handle.result(), 15)
    assert result.error is not None and result.error.node == "one"
    assert "node_retry" not in [event.type async for event in handle.events()]


async def test_inputs_over_the_limit_are_refused_before_the_run(stack: EmbeddedStack) -> None:
    with pytest.raises(InvalidInputs, match=r"40\d,\d+ bytes.*'inputs.v.x'.*300,000") as caught:
        await client_of(stack).start(chain(), {"v": {"x": NOISE + NOISE}}, options=LIMITED)
    assert caught.value.field == "inputs.v.x"


async def test_without_blobs_the_limit_is_what_temporal_holds(stack: EmbeddedStack) -> None:
    async with beside(stack, "inline", blobs="off") as own:
        client = client_of(own)
        with pytest.raises(InvalidInputs, match="2,080,768"):
            await client.start(chain(), {"v": {"x": NOISE * 11}}, options=ROOMY)
        quadrupling = chain(between="    v = v * 4\n")
        handle = await client.start(quadrupling, {"v": {"x": NOISE * 3}}, options=ROOMY)
        result = await asyncio.wait_for(handle.result(), 30)
        assert result.error is not None and result.error.node == "two"
        assert result.error.type == "PayloadTooLarge" and "2,080,768" in result.error.message


async def test_the_folder_goes_with_the_stack_or_stays_with_its_file(tmp_path: Path) -> None:
    async with embedded(settings(), workers=0) as stack:
        temporary = Path(stack.blobs)
        assert temporary.is_dir()
    assert not temporary.exists()

    db = tmp_path / "runs.db"
    async with embedded(settings(), db=db, workers=0) as stack:
        handle = await client_of(stack).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
    assert Path(stack.blobs) == tmp_path / "runs.db.blobs"
    async with embedded(settings(), db=db, worker_process=False) as stack:
        assert (await client_of(stack).run(handle.run_id).outputs())["v"] == NOISE


async def test_s3_carries_a_run_and_is_cleared_of_it(stack: EmbeddedStack, bucket: str) -> None:
    async with beside(stack, "s3", blobs=bucket) as own:
        handle = await client_of(own).start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
        assert (await handle.outputs())["v"] == NOISE
        assert len(await history(own, handle.run_id)) < 100_000
        store = S3Store(S3Client(read_place(bucket)))  # type: ignore[arg-type]
        kept = await collect(own.client, store, days=1)
        assert (kept.deleted.blobs, kept.kept.runs) == (0, 1)
        cleared = await collect(own.client, store, days=0)
        assert (cleared.deleted.runs, cleared.kept.blobs) == (1, 0) and cleared.deleted.size > 400_000


async def test_a_dev_stack_needs_no_settings_to_be_read(
    stack: EmbeddedStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Client, command line and replay find the blobs of a running `perdure dev`, wherever they are started."""
    cli = Cli({}, tmp_path)
    monkeypatch.setenv("PERDURE_CACHE_DIR", cli.environment()["PERDURE_CACHE_DIR"])
    monkeypatch.chdir(tmp_path)
    dev = DevStack(os.getpid(), stack.address, stack.namespace, stack.task_queue, None, stack.blobs)
    with announced(dev):
        client = await Client.connect(stack.address, task_queue=stack.task_queue)
        handle = await client.start(chain(), {"v": {"x": NOISE}}, options=ROOMY)
        assert (await handle.outputs())["v"] == NOISE
        code, out, err = await cli("result", handle.run_id, "--json")
        assert (code, json.loads(out.splitlines()[-1])["outputs"]["v"]) == (0, NOISE), err

        async def one() -> Any:
            yield await client.temporal.get_workflow_handle(handle.run_id).fetch_history()

        assert [again.error async for again in replay(one(), client.temporal.data_converter)] == [None]
    assert not (tmp_path / ".perdure").exists(), "no folder of its own beside the caller"
