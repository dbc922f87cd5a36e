"""The second Python engine: CPython in a bubblewrap jail with resource limits, one process per snippet."""

from __future__ import annotations

import math
import signal

from pydantic import JsonValue

from perdure_graph.effects import RunCode

from .child import ChildSpec
from .failures import SandboxFailure
from .one_shot import run_once
from .pool import ChildPool

# What the interpreter itself maps before the snippet runs.
_OWN_MB = 96
_FILE_BYTES = 16 * 1024 * 1024


async def run_cpython(pool: ChildPool, request: RunCode) -> JsonValue:
    """Run the snippet in CPython; the caller has made sure that the jail works.

    Raises:
        SandboxFailure: the snippet failed, its type says how.
        ChildCrashed: the process was killed from outside.
    """
    limits = {
        "AS": (request.memory_mb + _OWN_MB) * 1024 * 1024,
        "CPU": math.ceil(request.timeout_s) + 1,
        "FSIZE": _FILE_BYTES,
        "NPROC": 64,
        "NOFILE": 64,
        "CORE": 0,
    }
    return await run_once(pool, ChildSpec("child_python.py", limits), request, _judge_death)


def _judge_death(number: int) -> SandboxFailure:
    try:
        how = f"was ended by {signal.Signals(number).name}"
    except ValueError:
        how = "ended itself"
    return SandboxFailure("CodeExecutionError", f"the Python process {how} before `main` returned")
