"""The command line as a pipeline calls it: a process, its exit code, the last line on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure_worker.embedded import EmbeddedStack

COMMAND = [sys.executable, "-m", "perdure.cli"]
LIMIT_S = 90.0


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The last line on stdout."""
        return json.loads(self.out.splitlines()[-1])


async def against(stack: EmbeddedStack, *arguments: object, **more: str) -> Done:
    """Run a command against the server, the queue and the store of a stack. more: further variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    environment |= {"PERDURE_ADDRESS": stack.address, "PERDURE_TASK_QUEUE": stack.task_queue}
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *map(str, arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | {"PERDURE_STORE": stack.store_url} | more,
    )
    async with asyncio.timeout(LIMIT_S):
        out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode(), err.decode())


async def perdure(*argv: str, code_from: Path | None = None) -> tuple[int, dict[str, Any], str]:
    """Run a command with --json: exit code, last line, what people read. `code_from` is a source root that wins."""
    path = os.pathsep.join(part for part in (str(code_from or ""), os.environ.get("PYTHONPATH", "")) if part)
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *argv,
        "--json",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    assert process.returncode is not None
    return process.returncode, json.loads(out.decode().splitlines()[-1]), err.decode()
