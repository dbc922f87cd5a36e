"""The JavaScript engine: V8 in a child process (jailed where the host allows it), one process per snippet."""

from __future__ import annotations

import importlib.util
import math
import signal
from functools import cache
from pathlib import Path

from pydantic import JsonValue

from perdure_graph.effects import RunCode

from .child import ChildSpec
from .failures import SandboxFailure, out_of_memory
from .one_shot import run_once
from .pool import ChildPool

# Buffers live outside the heap that V8 counts, so the process is limited too. V8 reserves 512 MB for machine code
# (counted, hardly touched); it and the interpreter take some 50 MB more, garbage not yet collected the rest.
_OWN_MB = 704
_FATAL = (signal.SIGABRT, signal.SIGTRAP, signal.SIGILL, signal.SIGSEGV)


async def run_v8(pool: ChildPool, request: RunCode) -> JsonValue:
    """Run the snippet in V8.

    Raises:
        SandboxFailure: the snippet failed, its type says how.
        ChildCrashed: the process was killed from outside.
    """
    limits = {
        # V8 reserves terabytes of addresses, so limit what is writable instead of the address space.
        "DATA": (request.memory_mb + _OWN_MB) * 1024 * 1024,
        "CPU": math.ceil(request.timeout_s) + 1,
        "FSIZE": 0,
        "NOFILE": 64,
        "CORE": 0,
    }

    def judge_death(number: int) -> SandboxFailure | None:
        return out_of_memory(request.memory_mb, "V8 gave up") if number in _FATAL else None

    return await run_once(pool, ChildSpec("child_v8.py", limits, (_package(),)), request, judge_death)


@cache
def _package() -> str:
    found = importlib.util.find_spec("py_mini_racer")
    if found is None or found.origin is None:
        raise SandboxFailure(
            "CodeSandboxError", "JavaScript needs the package mini-racer; install `perdure[worker]` on the worker"
        )
    return str(Path(found.origin).parent)
