"""Sources of tools upon real MCP servers (`mcp_tools`)."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes import mcp_tools
from perdure_activities.files import FileStore
from perdure_activities.tools.mcp import McpServer, McpSource
from perdure_activities.tools.mcp.commands import AllowedCommands
from perdure_activities.tools.protocol import Tool, ToolCallContext
from perdure_graph.agents.tools import TextOut

SCRIPT = str(Path(mcp_tools.__file__).resolve())
ALLOWED = AllowedCommands([sys.executable])
SECRET = "sk-canary-77310-abcdef"
WAYS = ("stdio", "stdio-legacy", "http", "http-legacy")


@dataclass
class Served:
    """A source, and what its server noted."""

    source: McpSource
    calls: Path
    store: FileStore
    process: asyncio.subprocess.Process | None = None
    port: int = 0
    env: dict[str, Any] = field(default_factory=dict)

    async def tool(self, name: str) -> Tool:
        return next(tool for tool in await self.source.tools() if tool.declaration.name == name)

    async def call(self, name: str, /, timeout_s: float = 20.0, key: str = "key-1", **arguments: Any) -> Any:
        context = ToolCallContext(key=key, run_id="run", folder=self.calls.parent, timeout_s=timeout_s)
        return await (await self.tool(name)).run(arguments, {}, context)

    async def text(self, name: str, /, **arguments: Any) -> str:
        return "".join(part.text for part in await self.call(name, **arguments) if isinstance(part, TextOut))

    async def pid(self) -> int:
        return json.loads(await self.text("where"))["pid"]

    def noted(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.calls.read_text().splitlines()] if self.calls.exists() else []

    async def restart(self) -> None:
        """Kill the HTTP server and start it again on its port."""
        await self.kill()
        self.process = await start(self.port, self.env)

    async def kill(self) -> None:
        assert self.process is not None
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def start(port: int, env: dict[str, str]) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(sys.executable, SCRIPT, "http", str(port), env={**os.environ, **env})
    async with asyncio.timeout(20):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return process
            await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@asynccontextmanager
async def serving(way: str, folder: Path, *, env: dict[str, Any] | None = None, **more: Any) -> AsyncIterator[Served]:
    calls, store = folder / "calls.jsonl", FileStore(folder / "files")
    shared: dict[str, Any] = {"id": "tools", "protocol": "legacy" if way.endswith("legacy") else "auto"}
    process, port, given = None, 0, {"CALLS": str(calls), **(env or {})}
    if way.startswith("http"):
        port = free_port()
        given |= {"AS_JSON": "1"} if "json" in way else {}
        process = await start(port, given)
        shared |= {"url": f"http://127.0.0.1:{port}/mcp", "allow_private": True}
    else:
        shared |= {"command": [sys.executable, SCRIPT, "stdio"], "env": given}
    server = McpServer.model_validate(shared | more)
    environ = {**os.environ, "WORKER_KEY": SECRET}
    source = McpSource(server, ALLOWED, store, environ=environ, after_failure_s=0.1)
    served = Served(source, calls, store, process, port, given)
    try:
        yield served
    finally:
        await source.close()
        if served.process is not None:
            await served.kill()


async def until(holds: Callable[[], bool], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not holds():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
