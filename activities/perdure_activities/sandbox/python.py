"""Python snippets: monty first; what it does not finish runs again in CPython, whose verdict then holds."""

from __future__ import annotations

from perdure_graph.effects import CodeResult, RunCode

from . import jail
from .cpython import run_cpython
from .failures import SandboxFailure
from .monty import MontyGaveUp, MontyPool
from .pool import ChildPool


async def run_python(monty: MontyPool, children: ChildPool, request: RunCode) -> CodeResult:
    """Run a Python snippet. A snippet touches nothing outside, so running it twice does no harm.

    Raises:
        SandboxFailure: the snippet failed, its type says how.
        ChildCrashed: a sandbox process was killed from outside.
    """
    try:
        return CodeResult(result=await monty.run(request), engine="monty")
    except MontyGaveUp as error:
        gave_up = error
    if await jail.usable():
        return CodeResult(result=await run_cpython(children, request), engine="cpython")
    if gave_up.needs:
        raise SandboxFailure(
            "CodeSandboxError",
            f"the code needs CPython for {gave_up.needs}, and this worker may not start it without a jail; "
            f"{jail.MISSING}, or rewrite the code without {gave_up.needs}",
        )
    raise gave_up.failure
