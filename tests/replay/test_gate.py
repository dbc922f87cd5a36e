"""`perdure replay`: the gate before a deployment, as a pipeline calls it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from replay.golden import ADD, ask, line, until

import perdure_workflows
from fakes.graphs import code
from perdure import Client
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

LIMIT_S = 60.0


@dataclass(frozen=True)
class Open:
    """Two open runs on a queue of their own, the older one first."""

    address: str
    task_queue: str
    runs: tuple[str, str]


@pytest.fixture
async def opened(stack: EmbeddedStack) -> AsyncIterator[Open]:
    queue = f"gate-{uuid.uuid4()}"
    client = Client(stack.client, queue)
    graph = line(code("a", ADD, {"r": "number"}, x=["start", "x"]), ask("ask"), r=["a", "r"])
    async with embedded(WorkerSettings(address=stack.address, task_queue=queue, graceful_shutdown_s=1)):
        runs = [await client.start(graph, {"x": number}) for number in (1, 2)]
        for run in runs:
            await until(run, lambda view: view.forms)
        async with asyncio.timeout(LIMIT_S):
            query = f"TaskQueue = '{queue}' AND ExecutionStatus = 'Running'"
            while [found.id async for found in stack.client.list_workflows(query)] != [runs[1].run_id, runs[0].run_id]:
                await asyncio.sleep(0.05)
        yield Open(stack.address, queue, (runs[0].run_id, runs[1].run_id))
        for run in runs:
            await run.stop()


@pytest.fixture
def changed_code(tmp_path: Path) -> Path:
    """A source root whose workflows wait a second before they begin."""
    home = Path(next(iter(perdure_workflows.__path__)))
    shutil.copytree(home, tmp_path / home.name)
    shell = tmp_path / home.name / "shell.py"
    source = shell.read_text()
    assert source.count("self.deliver(Begin())") == 1
    shell.write_text(source.replace("self.deliver(Begin())", "await workflow.sleep(1)\n            self.deliver(Begin())"))
    return tmp_path


async def perdure(*argv: str, code_from: Path | None = None) -> tuple[int, dict[str, Any], str]:
    """Run the command with --json: exit code, last line, what people read."""
    path = os.pathsep.join(part for part in (str(code_from or ""), os.environ.get("PYTHONPATH", "")) if part)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perdure.cli",
        *argv,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode is not None
    return process.returncode, json.loads(out.decode().splitlines()[-1]), err.decode()


def gate(opened: Open, *more: str) -> list[str]:
    return ["replay", "--open", "--address", opened.address, "--task-queue", opened.task_queue, *more]


async def test_complaint_10_code_that_does_the_same_may_be_deployed(opened: Open) -> None:
    assert await perdure(*gate(opened)) == (
        0,
        {"replayed": 2, "refused": []},
        "2 histories replayed; this code can take them over\n",
    )
    assert (await perdure(*gate(opened, "-n", "1")))[1]["replayed"] == 1


async def test_code_that_does_something_else_is_refused_by_run_and_event(opened: Open, changed_code: Path) -> None:
    status, answer, text = await perdure(*gate(opened), code_from=changed_code)
    assert status == 1
    assert [refused["run_id"] for refused in answer["refused"]] == [opened.runs[1], opened.runs[0]]
    for refused in answer["refused"]:
        assert refused["deterministic"] is False
        assert re.match(
            r"this code does not do what the run did: at event \d+ the run asked for an effect, this code starts a timer",
            refused["error"],
        )
        assert f"refused: {refused['run_id']} (GraphRun, {refused['events']} events)\n  {refused['error']}" in text
    assert "2 of 2 histories cannot be taken over" in text

    status, answer, _ = await perdure(*gate(opened, "-n", "1"), code_from=changed_code)
    assert (status, [refused["run_id"] for refused in answer["refused"]]) == (1, [opened.runs[1]])


async def test_a_server_without_open_runs_lets_everything_pass(stack: EmbeddedStack, changed_code: Path) -> None:
    nothing = Open(stack.address, f"gate-{uuid.uuid4()}", ("", ""))
    status, answer, text = await perdure(*gate(nothing), code_from=changed_code)
    assert (status, answer["replayed"]) == (0, 0)
    assert "no run is open" in text


async def test_histories_can_come_from_files(changed_code: Path) -> None:
    folder = sorted((Path(__file__).parent / "histories").iterdir())[-1] / "forked"
    assert (await perdure("replay", str(folder)))[:2] == (0, {"replayed": 2, "refused": []})
    status, answer, _ = await perdure("replay", str(folder), code_from=changed_code)
    assert (status, len(answer["refused"])) == (1, 2)


async def test_what_is_no_history_is_refused_by_name(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    for text in ("no json", '{"events": []}', "[]"):
        bad.write_text(text)
        status, answer, _ = await perdure("replay", str(bad))
        assert (status, answer["error"]["field"]) == (2, "file")
        assert str(bad) in answer["error"]["message"]
    assert (await perdure("replay"))[0] == 2
    assert (await perdure("replay", str(bad), "--open"))[0] == 2
