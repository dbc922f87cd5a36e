"""Two versions of the workers side by side: an open run keeps the one it began on, a new one takes the current."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.command_line import COMMAND, perdure
from fakes.graphs import code, document, end, node, start
from perdure import Client, CommandRefused, Graph, RunHandle
from perdure.cli.deployment_cmd import make_current
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings


def asks(step: int = 1) -> Graph:
    """Start -> before (code) -> ask -> after (code) -> end; each code adds `step`."""
    ask = node("ask", "human-input", form_content="Go on?", inputs=[], user_actions=[{"id": "go", "title": "Go"}])
    add = f"def main(x):\n    return {{'r': x + {step}}}"
    nodes = [
        start(x="number"),
        code("before", add, {"r": "number"}, x=["start", "x"]),
        ask,
        code("after", add, {"r": "number"}, x=["before", "r"]),
        end(r=["after", "r"]),
    ]
    return Graph.from_document(
        document(nodes, [("start", "before"), ("before", "ask"), ("ask", "go", "after"), ("after", "end")])
    )


@asynccontextmanager
async def version(stack: EmbeddedStack, queue: str, build_id: str, **more: Any) -> AsyncIterator[None]:
    """A worker process of one version of the deployment named like its queue."""
    settings = WorkerSettings(
        address=stack.address,
        task_queue=queue,
        deployment_name=queue,
        build_id=build_id,
        versioning=True,
        graceful_shutdown_s=1,
        **more,
    )
    async with embedded(settings):
        yield


async def served_by(stack: EmbeddedStack, handle: RunHandle) -> list[str]:
    """Build ids of the workers that completed the tasks of a run, in order."""
    history = await stack.client.get_workflow_handle(handle.run_id).fetch_history()
    return [
        event.workflow_task_completed_event_attributes.deployment_version.build_id
        for event in history.events
        if event.HasField("workflow_task_completed_event_attributes")
    ]


async def until_asked(handle: RunHandle) -> None:
    async with asyncio.timeout(30):
        while not (await handle.status()).forms:
            await asyncio.sleep(0.02)


async def test_an_open_run_keeps_its_version_and_a_new_one_takes_the_current(stack: EmbeddedStack) -> None:
    queue = f"versions-{uuid.uuid4()}"
    client = Client(stack.client, queue)
    async with version(stack, queue, "v1"):
        assert await make_current(client, queue, "v1") == ""
        old = await client.start(asks(), {"x": 1})
        await until_asked(old)
        async with version(stack, queue, "v2"):
            assert await make_current(client, queue, "v2") == "v1"
            new = await client.start(asks(), {"x": 10})
            await until_asked(new)
            await asyncio.gather(old.submit("ask", "go"), new.submit("ask", "go"))
            assert await old.outputs() == {"r": 3}
            assert await new.outputs() == {"r": 12}
            assert set(await served_by(stack, old)) == {"v1"}
            assert set(await served_by(stack, new)) == {"v2"}


async def test_an_auto_upgrading_run_moves_to_the_current_version(stack: EmbeddedStack) -> None:
    queue = f"versions-{uuid.uuid4()}"
    client = Client(stack.client, queue)
    async with version(stack, queue, "v1", versioning_behavior="auto_upgrade"):
        await make_current(client, queue, "v1")
        run = await client.start(asks(), {"x": 1})
        await until_asked(run)
        async with version(stack, queue, "v2", versioning_behavior="auto_upgrade"):
            await make_current(client, queue, "v2")
            await run.submit("ask", "go")
            assert await run.outputs() == {"r": 3}
            used = await served_by(stack, run)
            assert (used[0], used[-1]) == ("v1", "v2")


async def test_a_version_that_no_worker_serves_cannot_become_current(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.cli.deployment_cmd.PATIENCE_S", 0.5)
    with pytest.raises(CommandRefused, match="Start its workers first: perdure worker --versioned"):
        await make_current(Client(stack.client, stack.task_queue), f"nobody-{uuid.uuid4()}", "v1")


async def test_versions_are_served_and_chosen_with_commands(stack: EmbeddedStack) -> None:
    name = f"commands-{uuid.uuid4()}"
    at = ("--address", stack.address)
    status, answer, _ = await perdure("deployment", "show", name, *at)
    assert (status, answer["status"]) == (1, "refused")
    assert f"perdure worker --versioned --deployment {name}" in answer["error"]["message"]

    worker = await asyncio.create_subprocess_exec(
        *COMMAND,
        *("worker", *at, "--task-queue", name, "--versioned", "--deployment", name, "--build-id", "v1"),
    )
    try:
        assert (await perdure("deployment", "set-current", "v1", name, *at))[:2] == (
            0,
            {"deployment": name, "current": "v1", "before": None},
        )
        status, answer, text = await perdure("deployment", "show", name, *at)
        (version,) = answer["versions"]
        assert (status, version["build_id"], version["current"], version["drained"]) == (0, "v1", True, False)
        assert text == "v1  current\n"
        run = await Client(stack.client, name).start(asks(), {"x": 1})
        await until_asked(run)
        await run.submit("ask", "go")
        assert await run.outputs() == {"r": 3}
        assert set(await served_by(stack, run)) == {"v1"}
        worker.terminate()
        assert await asyncio.wait_for(worker.wait(), 30) == 0
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()


async def test_complaint_39_a_run_says_which_graph_it_runs_and_a_new_version_of_it_leaves_it_alone(
    stack: EmbeddedStack,
) -> None:
    client = Client(stack.client, stack.task_queue)
    published, changed = asks(step=1), asks(step=100)
    assert published.hash != changed.hash and published.name == changed.name
    old = await client.start(published, {"x": 1})
    await until_asked(old)
    new = await client.start(changed, {"x": 1})
    await until_asked(new)
    for run, graph, result in ((old, published, 3), (new, changed, 201)):
        assert (await run.status()).graph_hash == graph.hash
        described = await stack.client.get_workflow_handle(run.run_id).describe()
        assert graph.hash in [pair.value for pair in described.typed_search_attributes]
        await run.submit("ask", "go")
        assert await run.outputs() == {"r": result}
        (first, *_) = [event async for event in run.events()]
        assert first.type == "run_started" and first.graph_hash == graph.hash
