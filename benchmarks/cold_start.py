"""The cold start: `perdure run` in a new process, until it reports its first node."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any, cast

FLOW = Path(__file__).with_name("cold_start.yml")
LIMIT_S = 120.0
_COMMAND = "import sys; from perdure.cli import main; sys.exit(main())"


async def cold_start() -> float:
    """Give the seconds from the spawn of `perdure run FLOW --json` to the line about the first node's start.

    They hold the interpreter, the embedded server, the worker process and the first workflow task; the server's
    binary is there already.
    """
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COMMAND, "run", str(FLOW), "--json", stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    result = asyncio.create_task(process.stdout.read())
    lines: list[str] = []
    seconds: float | None = None
    try:
        async with asyncio.timeout(LIMIT_S):
            async for raw in process.stderr:
                lines.append(raw.decode(errors="replace"))
                if seconds is None and _is_first_node(lines[-1]):
                    seconds = time.perf_counter() - began
            code = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        output = await result
    if code != 0 or seconds is None:
        said = "".join(lines[-10:]) + output.decode(errors="replace")
        raise RuntimeError(f"`perdure run` reported no first node on stderr and left with {code}:\n{said}")
    return seconds


def _is_first_node(line: str) -> bool:
    try:
        event: Any = json.loads(line)
    except ValueError:
        return False
    return isinstance(event, dict) and cast("dict[str, Any]", event).get("type") == "node_started"
