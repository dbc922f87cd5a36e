"""The official `temporal` CLI starts, signals and queries a run with plain JSON."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from fakes.graphs import code, document, end, node, start
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.settings import WorkerSettings
from perdure_worker.temporal_cli import ensure, silent


@pytest.fixture(scope="session")
def binary(worker_settings: WorkerSettings) -> Path:
    return ensure(silent, worker_settings)


async def temporal(binary: Path, stack: EmbeddedStack, *words: str, fails: bool = False) -> str:
    process = await asyncio.create_subprocess_exec(
        str(binary), *words, "--address", stack.address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if fails:
        assert process.returncode != 0, (words, out)
        return err.decode()
    assert process.returncode == 0, (words, out, err)
    return out.decode()


async def status(binary: Path, stack: EmbeddedStack, run: str) -> dict[str, Any]:
    out = await temporal(binary, stack, "workflow", "query", "-w", run, "--type", "status", "-o", "json")
    return json.loads(out)["queryResult"][0]


async def until(binary: Path, stack: EmbeddedStack, run: str, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (view := await status(binary, stack, run))["status"] != wanted:
            await asyncio.sleep(0.1)
        return view


def failing() -> str:
    """A run whose node waits for an operator, with an input that can be mended."""
    divide = code("k", "def main(x):\n    return {'r': 12 // x}", {"r": "number"}, x=["start", "x"])
    flow = document([start(x="number"), divide, end(out=["k", "r"])], [("start", "k"), ("k", "end")])
    options = {"on_failure": "wait", "deadline_s": 600}
    return json.dumps({"graph": flow.model_dump(mode="json"), "inputs": {"x": 0}, "options": options})


def request() -> str:
    actions = [{"id": "go", "title": "Go"}]
    ask = node("ask", "human-input", form_content="go?", inputs=[], user_actions=actions, timeout=1, timeout_unit="day")
    flow = document([start(x="number"), ask, end(x=["start", "x"])], [("start", "ask"), ("ask", "go", "end")])
    return json.dumps({"graph": flow.model_dump(mode="json"), "inputs": {"x": 3}})


async def started(binary: Path, stack: EmbeddedStack, asked: str | None = None) -> str:
    run, text = f"cli-{uuid.uuid4()}", asked or request()
    words = ["workflow", "start", "--type", "GraphRun", "-w", run, "--task-queue", stack.task_queue, "-i", text]
    await temporal(binary, stack, *words)
    return run


async def test_start_pause_resume_submit_and_show(binary: Path, stack: EmbeddedStack) -> None:
    run = await started(binary, stack)
    view = await until(binary, stack, run, "paused")
    assert [form["key"] for form in view["forms"]] == ["ask"]
    await temporal(binary, stack, "workflow", "signal", "-w", run, "--name", "pause", "-i", '{"reason": "lunch"}')
    async with asyncio.timeout(20):
        while not any(r.get("message") == "lunch" for r in (await status(binary, stack, run))["reasons"]):
            await asyncio.sleep(0.1)
    await temporal(binary, stack, "workflow", "signal", "-w", run, "--name", "resume")
    answer = '{"form": "ask", "action": "go"}'
    await temporal(binary, stack, "workflow", "signal", "-w", run, "--name", "submit", "-i", answer)
    assert (await until(binary, stack, run, "succeeded"))["outputs"] == {"x": 3}
    # The last events are recorded before the workflow closes.
    await temporal(binary, stack, "workflow", "result", "-w", run)
    shown = await temporal(binary, stack, "workflow", "show", "-w", run)
    assert "WorkflowExecutionCompleted" in shown
    assert '"status":"succeeded"' in shown.replace(" ", "")


async def test_stop_by_signal_and_pause_by_update(binary: Path, stack: EmbeddedStack) -> None:
    run = await started(binary, stack)
    await until(binary, stack, run, "paused")
    words = ["workflow", "update", "execute", "-w", run, "--name", "pause", "-o", "json"]
    assert json.loads(await temporal(binary, stack, *words))["result"]["status"] == "paused"
    await temporal(binary, stack, "workflow", "signal", "-w", run, "--name", "stop", "-i", '{"reason": "enough"}')
    assert (await until(binary, stack, run, "stopped"))["outputs"] == {}


@pytest.mark.parametrize("form", ["signal", "update"])
async def test_set_variables_and_retry_in_either_form(binary: Path, stack: EmbeddedStack, form: str) -> None:
    run = await started(binary, stack, failing())
    view = await until(binary, stack, run, "paused")
    assert [held["key"] for held in view["held"]] == ["k"]
    words = ["workflow", "signal"] if form == "signal" else ["workflow", "update", "execute"]
    for name, argument in (
        ("set_variables", {"id": "v", "variables": {"start": {"x": 4}}}),
        ("retry", {"id": "r", "node": "k"}),
    ):
        await temporal(binary, stack, *words, "-w", run, "--name", name, "-i", json.dumps(argument))
    assert (await until(binary, stack, run, "partial-succeeded"))["outputs"] == {"out": 3}
    await temporal(binary, stack, "workflow", "result", "-w", run)
    for words in (["signal"], ["update", "execute"]):
        after = await temporal(
            binary, stack, "workflow", *words, "-w", run, "--name", "retry", "-i", '{"node": "k"}', fails=True
        )
        assert "workflow execution already completed" in after


async def test_a_signal_sent_twice_counts_once_and_the_sender_can_ask(binary: Path, stack: EmbeddedStack) -> None:
    run = await started(binary, stack, failing())
    await until(binary, stack, run, "paused")
    for value, name in ((4, "v1"), (5, "v1"), ("six", "v2")):
        argument = json.dumps({"id": name, "variables": {"start": {"x": value}}})
        await temporal(binary, stack, "workflow", "signal", "-w", run, "--name", "set_variables", "-i", argument)

    async def asked(kind: str, *argument: str) -> Any:
        words = ["workflow", "query", "-w", run, "--type", kind, "-o", "json", *argument]
        return json.loads(await temporal(binary, stack, *words))["queryResult"][0]

    assert (await asked("variables"))["start"]["x"] == 4
    assert [await asked("given", "-i", f'"{name}"') for name in ("v1", "v2")] == [True, False]
    stop = ["workflow", "update", "execute", "-w", run, "--name", "stop", "-i", '{"reason": "enough"}', "-o", "json"]
    assert json.loads(await temporal(binary, stack, *stop))["result"]["status"] == "stopped"
