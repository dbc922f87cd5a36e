"""A whole stack in one `async with`: server, worker, client. Nothing of it outlives the block or the process.

async with embedded() as stack:
handle = await stack.client.start_workflow(...)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from temporalio.client import Client

from perdure_graph.errors import PlatformError

from .demo_model import own_demo_model
from .payloads import codec_endpoint, own_blobs
from .pools import close_pools
from .processes import WorkerHandle, start_here, start_process
from .runtime import connect
from .server import Server, start_server
from .settings import DEFAULT_STORE, WorkerSettings
from .store import own_store
from .temporal_cli import Progress, ensure, silent

EMBEDDED_STICKY_S = 2.0

StartWorker = Callable[[], Awaitable[WorkerHandle]]


class EmbeddedStack:
    """A running stack. `client` speaks to it; the workers can be restarted and killed."""

    def __init__(
        self, client: Client, settings: WorkerSettings, server: Server | None, start_worker: StartWorker
    ) -> None:
        self.client = client
        self.settings = settings
        self._server = server
        self._start_worker = start_worker
        self._workers: list[WorkerHandle | None] = []

    @property
    def address(self) -> str:
        """`host:port` of the server."""
        return self.settings.address or ""

    @property
    def ui_url(self) -> str | None:
        """Address of the web UI, when one was asked for."""
        return self._server.ui_url if self._server else None

    @property
    def namespace(self) -> str:
        """Temporal namespace of the runs."""
        return self.settings.namespace

    @property
    def task_queue(self) -> str:
        """Queue the workers poll."""
        return self.settings.task_queue

    @property
    def task_timeout(self) -> timedelta:
        """What its clients should start runs with, see `WorkerSettings.task_timeout_s`."""
        return timedelta(seconds=self.settings.task_timeout_s)

    @property
    def blobs(self) -> str:
        """Where large values are kept: a folder, `s3://...`, or `off`."""
        return self.settings.blobs

    @property
    def store_url(self) -> str:
        """Where runs are recorded, or `off`."""
        return self.settings.store or DEFAULT_STORE

    @property
    def server_pid(self) -> int | None:
        """Process id of the server; None when it is not ours."""
        return self._server.pid if self._server else None

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the workers that run."""
        return tuple(worker.pid for worker in self._workers if worker is not None)

    async def add_worker(self) -> int:
        """Start one more worker, wait until it polls, and give its index."""
        self._workers.append(await self._start_worker())
        return len(self._workers) - 1

    async def stop_worker(self, index: int = 0) -> None:
        """Drain a worker and wait for its end."""
        if (worker := self._worker(index)) is not None:
            self._workers[index] = None
            await worker.stop()

    async def kill_worker(self, index: int = 0) -> None:
        """Kill a worker process with SIGKILL, as a crash would.

        Raises:
            PlatformError: the worker runs inside this process.
        """
        if (worker := self._worker(index)) is not None:
            await worker.kill()
            self._workers[index] = None

    async def restart_worker(self, index: int = 0) -> None:
        """Drain a worker, if it still runs, and start a new one in its place."""
        await self.stop_worker(index)
        self._workers[index] = await self._start_worker()

    async def stop_workers(self) -> None:
        """Drain all workers."""
        for index in range(len(self._workers)):
            await self.stop_worker(index)

    def _worker(self, index: int) -> WorkerHandle | None:
        if not 0 <= index < len(self._workers):
            raise PlatformError(f"There is no worker {index}; this stack has {len(self._workers)}.")
        return self._workers[index]


@asynccontextmanager
async def embedded(
    settings: WorkerSettings | None = None,
    *,
    db: Path | None = None,
    ui: bool = False,
    workers: int = 1,
    worker_process: bool = True,
    progress: Progress = silent,
) -> AsyncGenerator[EmbeddedStack]:
    """Run a stack for the length of the block.

    settings: where it has an address, no server is started and that one is used.
    db: SQLite file in which the server keeps runs; without it they live in memory.
    ui: serve the Temporal web UI too.
    workers: how many to start; 0 leaves that to `add_worker`.
    worker_process: workers in processes of their own, else inside this one (at most one).
    progress: told about a download or build of the Temporal CLI.

    Raises:
        PlatformError: no Temporal CLI and no way to get it, or a process did not come up.
    """
    chosen = settings or WorkerSettings()
    # A worker of one machine is soon known to be dead; a fleet's may only be slow.
    chosen = chosen.model_copy(update={"sticky_timeout_s": min(chosen.sticky_timeout_s, EMBEDDED_STICKY_S)})
    if workers > 1 and not worker_process:
        raise PlatformError("One process runs one worker. Use `worker_process=True` for more.")
    async with AsyncExitStack() as cleanup:
        chosen = await own_store(chosen, db or chosen.db, cleanup)
        server: Server | None = None
        if chosen.address is None:
            chosen = await own_blobs(chosen, db or chosen.db, cleanup)
            codec = await codec_endpoint(chosen, cleanup, progress) if ui or chosen.ui_port else None
            server = await _own_server(chosen, db=db or chosen.db, ui=ui, codec=codec, progress=progress)
            cleanup.push_async_callback(server.stop)
            # A version takes no run before somebody makes it the current one, and here nobody does.
            chosen = chosen.model_copy(update={"address": server.address, "versioning": False})
        chosen = await own_demo_model(chosen, cleanup)
        client = await connect(chosen)

        async def start_worker() -> WorkerHandle:
            return await (start_process(chosen) if worker_process else start_here(client, chosen))

        stack = EmbeddedStack(client, chosen, server, start_worker)
        if not worker_process:
            cleanup.push_async_callback(close_pools)
        cleanup.push_async_callback(stack.stop_workers)
        for _ in range(workers):
            await stack.add_worker()
        yield stack


async def _own_server(
    settings: WorkerSettings, *, db: Path | None, ui: bool, codec: str | None, progress: Progress
) -> Server:
    cli = await asyncio.to_thread(ensure, progress, settings)
    return await start_server(cli, ui=ui, ui_port=settings.ui_port, db=db, namespace=settings.namespace, codec=codec)
