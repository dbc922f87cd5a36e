"""Runs with large values: graphs that pass them on, workers with payload settings of their own, and outages."""

from __future__ import annotations

import asyncio
import os
import random
import string
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fakes.command_line import COMMAND
from fakes.graphs import code, document, end, node, start
from perdure.client import Client
from perdure.handle import RunHandle
from perdure_graph.graph import Graph, graph_of
from perdure_graph.options import ValueLimits
from perdure_graph.request import RunOptions
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

# Neither zstd nor the server's own compression makes this small.
NOISE = "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=200_000))
ROOMY = RunOptions(
    limits=ValueLimits(text_chars=70_000_000, list_items=10_000, code_output_bytes=70_000_000, code_memory_mb=2048)
)


def settings(**given: Any) -> WorkerSettings:
    return WorkerSettings(**{"address": None, "db": None, "ui_port": None, "graceful_shutdown_s": 1.0, **given})


@asynccontextmanager
async def beside(
    stack: EmbeddedStack, queue: str, *, workers: int = 1, process: bool = False, **given: Any
) -> AsyncIterator[EmbeddedStack]:
    """A worker with settings of its own on the server of another stack: no second server has to start."""
    chosen = settings(address=stack.address, task_queue=queue, store="off", **given)
    async with embedded(chosen, worker_process=process, workers=workers) as own:
        yield own


def client_of(stack: EmbeddedStack) -> Client:
    return Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout)


def chain(kind: str = "string", *, first: str = "v['x']", between: str = "", **data: Any) -> Graph:
    """start -> code -> aggregator -> code -> end; the value goes through each."""
    one = code("one", f"def main(v):\n    return {{'v': {first}}}", {"v": kind}, None, v=["start", "v"])
    body = f"def main(v):\n{between}    return {{'v': v}}"
    return graph_of(
        document(
            [
                start(v="json_object"),
                one.model_copy(update={"data": one.data | data}),
                node("both", "variable-aggregator", output_type=kind, variables=[["one", "v"]]),
                code("two", body, {"v": kind}, None, v=["both", "output"]),
                end(v=["two", "v"]),
            ],
            [("start", "one"), ("one", "both"), ("both", "two"), ("two", "end")],
        )
    )


def form(node_id: str) -> Any:
    """A person who presses `go`, within a day."""
    return node(
        node_id,
        "human-input",
        form_content="go?",
        inputs=[],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=1,
        timeout_unit="day",
    )


async def history(stack: EmbeddedStack, run_id: str) -> str:
    return (await stack.client.get_workflow_handle(run_id).fetch_history()).to_json()


async def until(check: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not await check():
            await asyncio.sleep(0.05)


async def waits(handle: RunHandle) -> bool:
    return bool((await handle.status()).forms)


@asynccontextmanager
async def gone(folder: Path, seconds: float) -> AsyncIterator[None]:
    """The folder is away for so long; the block begins once it is gone."""
    away = folder.with_name(f"{folder.name}-away")
    folder.rename(away)

    async def back() -> None:
        await asyncio.sleep(seconds)
        away.rename(folder)

    returning = asyncio.create_task(back())
    try:
        yield
    finally:
        await returning


@dataclass(frozen=True)
class Cli:
    """The command line as a process, with these variables and none of the developer's."""

    variables: dict[str, str]
    folder: Path

    def environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
        return clean | {"PERDURE_CACHE_DIR": str(self.folder / "cache")} | self.variables

    async def start(self, *arguments: object) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment(),
            cwd=self.folder,
            limit=1 << 26,
        )

    async def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        process = await self.start(*arguments)
        async with asyncio.timeout(150):
            out, err = await process.communicate()
        return process.returncode or 0, out.decode(), err.decode()
