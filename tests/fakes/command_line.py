"""The command line as a pipeline calls it: a process, its exit code, the last line on stdout."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
