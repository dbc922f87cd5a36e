"""The cold start: `perdure run` in a new process, until it reports its first node on stderr."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

FLOW = Path(__file__).with_name("cold_start.yml")
FIRST_NODE = "first"
LIMIT_S = 120.0


async def cold_start() -> float:
    """Give the seconds from the spawn of `perdure run FLOW --json` to its first line that names the first node.

    They hold the interpreter, the embedded server, the worker and the first workflow task; the server's binary is
    there already.
    """
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perdure.cli", "run", str(FLOW), "--json", stdout=PIPE, stderr=PIPE
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
                if seconds is None and FIRST_NODE in lines[-1].split():
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
