"""`perdure replay`: the gate before a deployment, as a pipeline calls it."""

from __future__ import annotations

import asyncio
import re
import shutil
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from replay.golden import ADD, ask, line, until

import perdure_workflows
from fakes.command_line import LIMIT_S, perdure
from fakes.graphs import code
from perdure import Client, InvalidInputs
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.replay import read_histories
from perdure_worker.settings import WorkerSettings


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
    shell.write_text(
        source.replace("self.deliver(Begin())", "await workflow.sleep(1)\n            self.deliver(Begin())")
    )
    return tmp_path


def gate(opened: Open, *more: str) -> list[str]:
    return ["replay", "--open", "--address", opened.address, "--task-queue", opened.task_queue, *more]


async def test_code_that_does_the_same_may_be_deployed(opened: Open) -> None:
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
        words = r"this code does not do what .*: at event \d+ the run asked for an effect, this code starts a timer"
        assert re.match(words, refused["error"])
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
        with pytest.raises(InvalidInputs, match=re.escape(str(bad))):
            read_histories([bad])
    status, answer, _ = await perdure("replay", str(bad))
    assert (status, answer["error"]["field"]) == (2, "file")
    assert str(bad) in answer["error"]["message"]
    assert (await perdure("replay", str(bad), "--open"))[0] == 2
