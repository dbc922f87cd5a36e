"""`perdure dev`, `perdure worker` and `perdure doctor`: the processes under the runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure_graph.errors import PlatformError

from ..dev_state import DevStack, announced
from .connect import Demo, lacks_worker, own_stack, required, settings
from .follow import interrupts
from .output import FAILED, OK, Output

if TYPE_CHECKING:
    from perdure_worker.embedded import EmbeddedStack

_LOOK_S = 1.0


async def dev(db: Path | None, ui_port: int | None, out: Output, demo: Demo | None = None) -> int:
    """Run a server, a worker and the web UI until Ctrl-C.

    Raises:
        PlatformError: the server ended by itself.
    """
    given: dict[str, Any] = {"address": None}
    given |= {name: value for name, value in (("db", db), ("ui_port", ui_port)) if value is not None}
    chosen = settings(**given, **(demo.settings() if demo else {}))
    async with own_stack(out.note, chosen, ui=True) as stack:
        state = DevStack(
            os.getpid(),
            stack.address,
            stack.namespace,
            stack.task_queue,
            stack.ui_url,
            stack.blobs,
            stack.store_url,
        )
        with announced(state), interrupts() as asked:
            out.say(f"address:    {stack.address}")
            out.say(f"web UI:     {stack.ui_url}")
            out.say(f"task queue: {stack.task_queue}")
            out.say("runs:       " + (f"kept in {chosen.db}" if chosen.db else "in memory; --db FILE keeps them"))
            if demo is not None:
                out.say("models:     simulated, every one of them")
            out.say("`perdure start FLOW` in another terminal finds this server. Ctrl-C ends it.")
            await _until(asked, stack, out)
            out.note("shutting down")
    return OK


async def _until(asked: asyncio.Event, stack: EmbeddedStack, out: Output) -> None:
    """Wait for Ctrl-C; a worker that dies is replaced, a server that dies ends the command."""
    while not asked.is_set():
        try:
            async with asyncio.timeout(_LOOK_S):
                await asked.wait()
        except TimeoutError:
            if stack.server_pid is not None and not _alive(stack.server_pid):
                raise PlatformError("the Temporal server ended by itself. Start `perdure dev` again.") from None
            if not all(map(_alive, stack.worker_pids)):
                out.note("the worker ended by itself; starting another")
                await stack.restart_worker()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def worker(address: str | None, given: dict[str, Any]) -> int:
    """Run a worker against a server until SIGTERM or Ctrl-C, and give its exit code.

    Raises:
        PlatformError: no server is configured, or the worker extra is missing.
        InvalidInputs: a setting is wrong.
    """
    server = required(address)
    chosen = {"namespace": server.namespace, "task_queue": server.task_queue, **given}
    if server.blobs:
        chosen |= {"blobs": server.blobs, "blobs_create": False}
    try:
        from perdure_worker import main
    except ImportError as error:
        raise lacks_worker(error) from error
    return main.run(settings(address=server.address, **chosen))


async def doctor(address: str | None, out: Output) -> int:
    """Examine the machine; the exit code is 1 when something required is missing."""
    try:
        from perdure_worker.doctor import examine_all
    except ImportError as error:
        raise lacks_worker(error) from error
    checks = await examine_all(settings(address=address))
    missing = [check.name for check in checks if check.required and not check.ok]
    for check in checks:
        mark = "ok" if check.ok else "MISSING" if check.required else "without"
        out.say(f"{mark:<8} {check.name}: {check.detail}")
        if not check.ok and check.how_to_get:
            out.say(f"{'':<8} -> {check.how_to_get}")
    out.say("everything required is there" if not missing else f"required and missing: {', '.join(missing)}")
    if out.as_json:
        out.json({"ok": not missing, "checks": [check.model_dump(mode="json") for check in checks]})
    return FAILED if missing else OK
