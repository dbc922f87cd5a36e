"""A worker with a wrong tools file does not start: it says the file, the field and the next step, and ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from fakes.command_line import COMMAND, Done
from perdure_graph.errors import PlatformError
from perdure_worker import temporal_cli
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

LIMIT_S = 120.0
# Nobody listens there: a worker that asked would wait for an answer.
NOWHERE = "127.0.0.1:9"
WRONG = "openapi:\n  - id: a\n    spec: a.json\n    operatons: ['*']\n"


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    file = tmp_path / "tools.yml"
    file.write_text(WRONG)
    return file


def says(text: str, file: Path) -> bool:
    """Whether a message names the file, the line, the field, and what to do."""
    return all(part in text for part in (f"{file}:4", "`openapi[0].operatons`", "Is `operations` meant?", "Correct"))


async def ended(*argv: str, folder: Path, **variables: str) -> Done:
    """Run a command that is to end by itself."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=clean | variables,
    )
    try:
        async with asyncio.timeout(LIMIT_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    return Done(process.returncode or 0, out.decode(), err.decode())


async def test_perdure_worker_ends_before_it_asks_the_server(wrong: Path, tmp_path: Path) -> None:
    variables = {"PERDURE_ADDRESS": NOWHERE, "PERDURE_TOOLS": str(wrong)}
    done = await ended(*COMMAND, "worker", folder=tmp_path, **variables)
    assert (done.code, says(done.err, wrong)) == (1, True), done.err
    assert "Traceback" not in done.err and NOWHERE not in done.err
    done = await ended(sys.executable, "-m", "perdure_worker.main", "--ready-fd", "1", folder=tmp_path, **variables)
    assert (done.code, done.json["ready"], says(done.json["error"], wrong)) == (1, False, True), done


async def test_a_file_that_is_not_there_is_said_too(tmp_path: Path) -> None:
    variables = {"PERDURE_ADDRESS": NOWHERE, "PERDURE_TOOLS": "nowhere.yml"}
    done = await ended(*COMMAND, "worker", folder=tmp_path, **variables)
    assert (done.code, "nowhere.yml: the file cannot be read" in done.err, "Correct its path" in done.err) == (
        1,
        True,
        True,
    )


async def test_perdure_dev_ends_with_what_its_worker_says(wrong: Path, tmp_path: Path) -> None:
    variables = {"PERDURE_TOOLS": str(wrong), "PERDURE_CACHE_DIR": str(tmp_path / "cache")}
    if (found := temporal_cli.find(WorkerSettings())) is not None:
        variables["PERDURE_TEMPORAL_CLI"] = str(found)
    done = await ended(*COMMAND, "dev", folder=tmp_path, **variables)
    assert (done.code, says(done.err, wrong)) == (1, True), done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("process", [True, False])
async def test_an_embedded_stack_does_not_start(stack: EmbeddedStack, wrong: Path, process: bool) -> None:
    given = {"task_queue": f"tools-{uuid.uuid4()}", "store": "off", "tools": wrong}
    chosen = stack.settings.model_copy(update=given)
    with pytest.raises(PlatformError) as refused:
        async with embedded(chosen, worker_process=process):
            raise AssertionError("it started")
    assert says(str(refused.value), wrong)


STARTS = """
import asyncio, sys
from perdure_worker import agents, runtime
from perdure_worker.settings import WorkerSettings
before = set(sys.modules)
asyncio.run(agents.read_tools(WorkerSettings()))
print(*sorted(set(sys.modules) - before))
"""


def loaded(**variables: str) -> set[str]:
    """The modules that reading the tools file takes."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    done = subprocess.run([sys.executable, "-c", STARTS], capture_output=True, text=True, env=clean | variables)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_a_worker_without_a_file_loads_nothing_for_it(tmp_path: Path) -> None:
    assert not {name for name in loaded() if name.startswith("perdure")}
    file = tmp_path / "tools.yml"
    file.write_text("mcp:\n  - id: a\n    url: https://a.example\nopenapi:\n  - {id: b, spec: b.json}\n")
    heavy = {"mcp", "httpx2", "jsonschema", "openai", "anthropic", "numpy"}
    assert not {name.split(".")[0] for name in loaded(PERDURE_TOOLS=str(file))} & heavy
