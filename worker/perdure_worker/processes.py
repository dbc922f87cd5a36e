"""Workers of an embedded stack: in processes of their own, or inside this one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from typing import Any, Protocol, cast

from temporalio.client import Client

from perdure_graph.errors import PlatformError

from .agents import equipped, read_tools
from .child import Child, spawn
from .models import asking
from .runtime import Polling, make_worker, start_polling
from .settings import WorkerSettings
from .store import recording

READY_TIMEOUT_S = 60.0
# Past the limit a worker gives what it cancels `main.CANCEL_S`, then it leaves by itself.
KILL_MARGIN_S = 8.0


class WorkerHandle(Protocol):
    """A started worker."""

    @property
    def pid(self) -> int:
        """Process it runs in."""
        ...

    async def stop(self) -> None:
        """Drain it and wait for its end."""
        ...

    async def kill(self) -> None:
        """Crash it."""
        ...


class WorkerProcess:
    """A worker in its own process, tethered to this one."""

    def __init__(self, child: Child, patience_s: float) -> None:
        self._child = child
        self._patience_s = patience_s

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._child.pid

    async def stop(self) -> None:
        """Send SIGTERM, wait for the drain, after its limit SIGKILL."""
        await self._child.stop(self._patience_s)

    async def kill(self) -> None:
        """Send SIGKILL."""
        await self._child.kill()


class WorkerHere:
    """A worker inside this process; it shares the loop and cannot crash alone."""

    def __init__(self, polling: Polling, cleanup: AsyncExitStack) -> None:
        self._polling = polling
        self._cleanup = cleanup

    @property
    def pid(self) -> int:
        """Id of the current process."""
        return os.getpid()

    async def stop(self) -> None:
        """Drain it and close its run store."""
        async with self._cleanup:
            await self._polling.stop()

    async def kill(self) -> None:
        """Refuse: there is no process to kill.

        Raises:
            PlatformError: always.
        """
        raise PlatformError("The worker runs inside this process. Use `embedded(worker_process=True)` to kill one.")


async def start_process(settings: WorkerSettings) -> WorkerProcess:
    """Start a worker process and wait until it polls.

    Raises:
        PlatformError: it ended or reported a failure before that, or took too long.
    """
    read_fd, write_fd = os.pipe()
    # `-P`: files of the folder the caller happens to stand in must not shadow modules of the worker.
    argv = [sys.executable, "-P", "-m", "perdure_worker.main", "--ready-fd", str(write_fd)]
    env = {**os.environ, **settings.to_env()}
    try:
        child = await spawn(argv, env=env, pass_fds=(write_fd,))
    except BaseException:
        os.close(read_fd)
        raise
    finally:
        os.close(write_fd)
    try:
        line = await asyncio.wait_for(_first_line(read_fd), READY_TIMEOUT_S)
        _check(line)
    except BaseException as error:
        await child.kill()
        if isinstance(error, TimeoutError):
            raise PlatformError(f"The worker process was not ready after {READY_TIMEOUT_S:.0f} s.") from error
        raise
    return WorkerProcess(child, settings.graceful_shutdown_s + KILL_MARGIN_S)


async def start_here(client: Client, settings: WorkerSettings) -> WorkerHere:
    """Start a worker inside this process."""
    async with AsyncExitStack() as cleanup:
        recorder = await cleanup.enter_async_context(recording(settings))
        models = await cleanup.enter_async_context(asking(settings, recorder))
        agents = await cleanup.enter_async_context(equipped(settings, recorder, models, await read_tools(settings)))
        worker = make_worker(client, settings, recorder=recorder, models=models, agents=agents)
        polling = await start_polling(worker)
        models.warm()
        return WorkerHere(polling, cleanup.pop_all())


async def _first_line(fd: int) -> bytes:
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(fd, "rb", buffering=0)
    )
    try:
        return await reader.readline()
    finally:
        transport.close()


def _check(line: bytes) -> None:
    if not line:
        raise PlatformError("The worker process ended before it was ready; its own message is on stderr.")
    message = cast("dict[str, Any]", json.loads(line))
    if message.get("ready") is not True:
        raise PlatformError(f"The worker process could not start: {message.get('error')}")
