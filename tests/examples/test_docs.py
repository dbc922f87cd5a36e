"""What the docs show runs: Python blocks, `temporal` commands, and the node package of docs/nodes.md."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import shlex
import sys
import time
import tomllib
import uuid
from inspect import CO_COROUTINE
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
import temporalio.client

from perdure import Client
from perdure_graph.naming import COMMANDS, QUERIES, SEARCH_ATTRIBUTES, WORKFLOW_TYPE
from perdure_worker.embedded import EmbeddedStack
from perdure_worker.settings import WorkerSettings
from perdure_worker.temporal_cli import ensure, silent

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


def blocks(page: str, language: str) -> list[str]:
    """All code blocks of a page in one language."""
    return [text for kind, text in BLOCK.findall((DOCS / page).read_text()) if kind == language]


async def execute(source: str, scope: dict[str, Any]) -> None:
    """Run a block that may await at its top level."""
    compiled: CodeType = compile(source, "<docs>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & CO_COROUTINE:
        await FunctionType(compiled, scope)()
    else:
        exec(compiled, scope)


@pytest.mark.parametrize("page", ["testing.md", "flows.md"])
async def test_python_blocks_run(
    page: str, client: temporalio.client.Client, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    scope: dict[str, Any] = {"client": Client(client, stack.task_queue)}
    found = blocks(page, "python")
    assert found
    for source in found:
        await execute(source.replace("orders-2026-09", f"docs-{uuid.uuid4()}"), scope)


def test_json_blocks_are_json() -> None:
    for page in sorted(DOCS.glob("*.md")):
        for text in blocks(page.name, "json"):
            json.loads(text)


async def command(words: list[str], stack: EmbeddedStack, folder: Path, binary: Path) -> str:
    assert words[0] == "temporal"
    process = await asyncio.create_subprocess_exec(
        str(binary),
        *words[1:],
        cwd=folder,
        env={**os.environ, "TEMPORAL_ADDRESS": stack.address},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, (words, out, err)
    return out.decode()


async def test_the_temporal_commands_run(
    client: temporalio.client.Client,
    stack: EmbeddedStack,
    worker_settings: WorkerSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = f"docs-{uuid.uuid4()}"
    binary = ensure(silent, worker_settings)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for source in blocks("temporal-cli.md", "python"):
        await execute(source, {})
    handle = Client(client, stack.task_queue).run(run)
    said: dict[str, str] = {}
    for block in blocks("temporal-cli.md", "sh"):
        if "--name submit" in block:
            async with asyncio.timeout(30):
                while not (await handle.status()).forms:
                    await asyncio.sleep(0.05)
        for line in block.strip().splitlines():
            words = shlex.split(line)
            at_queue = [stack.task_queue if word == "perdure" else run if word == "my-run" else word for word in words]
            said[line] = await command(at_queue, stack, tmp_path, binary)
    status = next(out for line, out in said.items() if "--type status" in line)
    assert json.loads(status)["queryResult"][0]["run_id"] == run
    result = await handle.result()
    assert (result.status, result.outputs["decision"], result.outputs["accepted"]) == ("succeeded", "approved", 192)


def test_the_wire_names_are_documented() -> None:
    page = (DOCS / "temporal-cli.md").read_text()
    for name in (WORKFLOW_TYPE, *QUERIES, *COMMANDS, *SEARCH_ATTRIBUTES):
        assert f"`{name}`" in page, name


def write_package(folder: Path) -> None:
    """Lay the package of docs/nodes.md out as an installer would."""
    for language in ("python", "toml", "yaml"):
        for source in blocks("nodes.md", language):
            named = FILE.match(source)
            assert named, source
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
    (folder / "word_count_nodes" / "__init__.py").touch()
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    info = folder / f"word_count_nodes-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))


SCRIPT = """
import asyncio, json, sys
from perdure import Client, Graph
from perdure_graph import checks
from perdure_worker.embedded import embedded
from perdure_worker.settings import WorkerSettings

async def main():
    graph = Graph.load(sys.argv[3])
    levels = sorted({finding.level for finding in checks.report(graph)})
    settings = WorkerSettings(address=sys.argv[1], task_queue=sys.argv[2], graceful_shutdown_s=1.0)
    async with embedded(settings) as stack:
        client = Client(stack.client, stack.task_queue)
        done = await (await client.start(graph, {"text": "a node is one small file"})).outputs()
        pinned = await client.start(graph, {"text": "one two"}, pins={"type:clock": {}, "count": {"error": "no"}})
        error = (await pinned.result()).error
    print(json.dumps({"levels": levels, "done": done, "error": [error.node, error.message]}))

asyncio.run(main())
"""


async def test_the_package_of_the_nodes_page_runs(stack: EmbeddedStack, tmp_path: Path) -> None:
    write_package(tmp_path)
    began = int(time.time())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SCRIPT,
        stack.address,
        f"{stack.task_queue}-docs",
        str(tmp_path / "flow.yml"),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    said = json.loads(out)
    assert said["levels"] == ["same"]
    assert said["error"] == ["count", "no"]
    at = said["done"].pop("at")
    assert began <= at <= time.time()
    assert said["done"] == {"words": 5, "longest": "small"}
