"""`perdure blobs gc`: takes what no run can need any more, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import StorageDriverStoreContext, StorageDriverWorkflowInfo

from fakes.graphs import code, document, end, node, start
from fakes.payload_runs import NOISE, ROOMY, Cli, beside, client_of, form, until, waits
from perdure_graph.graph import Graph, graph_of
from perdure_payloads.errors import BlobsUnavailable
from perdure_payloads.folder import FolderDriver
from perdure_payloads.inventory import FolderStore
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.replay import replay

# Four items in two child workflows, and histories that move on after a few events.
OPTIONS = ROOMY.model_copy(update={"window_items": 2, "continue_after_events": 10})
ITEMS = [NOISE[at : at + 100_000] for at in range(0, 100_000, 25_000)]


def flow() -> Graph:
    """start -> iteration over large items -> one more large value -> a person -> end."""
    keep = "def main(v):\n    return {'v': v}"
    return graph_of(
        document(
            [
                start(v="json_object"),
                code("list", "def main(v):\n    return {'v': v['x']}", {"v": "array[string]"}, None, v=["start", "v"]),
                node(
                    "it", "iteration", start_node_id="its", iterator_selector=["list", "v"], output_selector=["k", "v"]
                ),
                node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
                code("k", keep, {"v": "string"}, "it", v=["it", "item"]),
                code("big", keep, {"v": "array[string]"}, None, v=["it", "output"]),
                form("ask"),
                end(v=["big", "v"]),
            ],
            [("start", "list"), ("list", "it"), ("its", "k"), ("it", "big"), ("big", "ask"), ("ask", "go", "end")],
        )
    )


async def store(root: Path, workflow: str, age_s: float) -> None:
    """Keep a blob of a run that Temporal does not know."""
    target = StorageDriverWorkflowInfo(namespace="default", id=workflow)
    payload = Payload(metadata={"encoding": b"json/plain"}, data=workflow.encode())
    [claim] = await FolderDriver(root).store(StorageDriverStoreContext(target=target), [payload])
    [path] = root.rglob(claim.claim_data["sha256"])
    os.utime(path, (time.time() - age_s, time.time() - age_s))


async def families(root: Path) -> dict[str, int]:
    """Runs that have blobs, and how many, those of their children included."""
    found: dict[str, int] = {}
    for workflow, blobs in (await FolderStore(root).list("default")).runs.items():
        run = workflow.partition("/")[0]
        found[run] = found.get(run, 0) + len(blobs)
    return found


@pytest.mark.timeout(240)
async def test_what_a_run_can_still_need_is_never_taken(stack: EmbeddedStack, tmp_path: Path) -> None:
    """Open and closed runs, in chains of histories and with windows; a fork lives on what its source gave it."""
    root, value = tmp_path / "blobs", {"v": {"x": ITEMS}}
    cli = Cli({"PERDURE_ADDRESS": stack.address, "PERDURE_BLOBS": str(root)}, tmp_path)

    async def gc(*options: object) -> dict[str, Any]:
        code, out, err = await cli("blobs", "gc", "--json", *options)
        assert code == 0, err
        return json.loads(out.splitlines()[-1])

    async with beside(stack, "gc", blobs=str(root)) as own:
        client = client_of(own)
        closed = await client.start(flow(), value, options=OPTIONS, run_id="gc-closed")
        await until(lambda: waits(closed), 60)
        await closed.submit("ask", "go")
        assert (await closed.outputs())["v"] == ITEMS
        forked = await closed.fork(from_node="ask", run_id="gc-forked")
        opened = await client.start(flow(), value, options=OPTIONS, run_id="gc-open")
        for handle in (forked, opened):
            await until(lambda handle=handle: waits(handle), 60)
    await store(root, "gc-starting", 60)
    await store(root, "gc-unheard-of", 7_200)
    before = await families(root)
    assert {"gc-closed", "gc-forked", "gc-open", "gc-starting", "gc-unheard-of"} == before.keys()
    described = await own.client.get_workflow_handle("gc-open").describe()
    assert described.run_id != described.raw_description.workflow_execution_info.first_run_id, "a chain of histories"

    shown = await gc("--dry-run")
    assert shown["days"] >= 1 and shown["deleted"]["runs"] == 0, "what Temporal shows is kept by default"
    assert (await gc("--days", 0, "--dry-run"))["deleted"]["runs"] >= 2
    assert await families(root) == before, "a dry run only tells"

    done = await gc("--days", 0)
    after = await families(root)
    assert after == {run: before[run] for run in ("gc-forked", "gc-open", "gc-starting")}
    assert done["deleted"]["blobs"] == before["gc-closed"] + before["gc-unheard-of"]
    assert not list(root.rglob("gc-closed*")), "no empty folders are left"

    # A worker that has nothing of them in memory reads all of it again.
    async with beside(stack, "gc", blobs=str(root)) as own:
        for run_id in ("gc-forked", "gc-open"):
            handle = client_of(own).run(run_id)
            await handle.submit("ask", "go")
            assert (await handle.outputs())["v"] == ITEMS
        query = "WorkflowId = 'gc-open' OR WorkflowId STARTS_WITH 'gc-open/' OR WorkflowId = 'gc-forked'"

        async def histories() -> Any:
            async for found in own.client.list_workflows(query):
                handle = own.client.get_workflow_handle(found.id, run_id=found.run_id)
                yield await handle.fetch_history()

        replayed = [again async for again in replay(histories(), own.client.data_converter)]
        assert len(replayed) >= 4 and {again.error for again in replayed} == {None}


async def test_a_folder_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(BlobsUnavailable, match=r"gone'.*PERDURE_BLOBS"):
        await FolderStore(tmp_path / "gone").list("default")
