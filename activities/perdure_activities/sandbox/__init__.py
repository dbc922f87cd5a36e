"""Sandboxes for what authors of graphs write: Python, JavaScript and Jinja2, each in killable child processes.

    run_code  --> python3:    monty (pool of processes) --failed?--> CPython in a bubblewrap jail, one per snippet
              --> javascript: V8 in a child process, one per snippet
    render    --> Jinja2 sandbox in persistent child processes

Pools belong to the running event loop and start when first used; `close_pools` ends every child of this loop.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import assert_never

from perdure_graph.effects import CodeResult, RenderTemplate, RunCode

from .failures import ChildCrashed, FailureType, SandboxFailure
from .monty import MontyPool
from .pool import ChildPool
from .python import run_python
from .templates import render, template_spec
from .v8 import run_v8

__all__ = ["ChildCrashed", "FailureType", "SandboxFailure", "close_pools", "execute", "render_text", "warm_pools"]


@dataclass(frozen=True)
class _Pools:
    templates: ChildPool
    snippets: ChildPool
    monty: MontyPool


_by_loop: dict[asyncio.AbstractEventLoop, _Pools] = {}


def _pools() -> _Pools:
    loop = asyncio.get_running_loop()
    found = _by_loop.get(loop)
    if found is None:
        for other in [other for other in _by_loop if other.is_closed()]:
            forgotten = _by_loop.pop(other)
            forgotten.templates.abandon()
            forgotten.snippets.abandon()
        size = max(2, os.cpu_count() or 2)
        found = _by_loop[loop] = _Pools(ChildPool(size), ChildPool(2 * size), MontyPool(size))
    return found


async def execute(request: RunCode) -> CodeResult:
    """Run a snippet in the sandbox of its language.

    Raises:
        SandboxFailure: the snippet failed, its type says how.
        ChildCrashed: a sandbox process was killed from outside; another attempt may succeed.
    """
    pools = _pools()
    match request.language:
        case "python3":
            return await run_python(pools.monty, pools.snippets, request)
        case "javascript":
            return CodeResult(result=await run_v8(pools.snippets, request), engine="v8")
        case _:
            assert_never(request.language)


async def render_text(request: RenderTemplate) -> str:
    """Render a template in the sandbox.

    Raises:
        SandboxFailure: the template failed, its type says how.
        ChildCrashed: sandbox processes were killed from outside; another attempt may succeed.
    """
    return await render(_pools().templates, request)


async def warm_pools() -> None:
    """Start one template child and the monty pool, so that the first node does not wait for them."""
    pools = _pools()
    async with pools.templates.lend(template_spec(), keep=True):
        await pools.monty.start()


async def close_pools() -> None:
    """End every sandbox process of this event loop; what still runs in them fails. Later calls start new ones."""
    pools = _by_loop.pop(asyncio.get_running_loop(), None)
    if pools is not None:
        await asyncio.gather(pools.templates.close(), pools.snippets.close(), pools.monty.close())
