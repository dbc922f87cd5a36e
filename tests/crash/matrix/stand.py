"""What a case stands on: a Temporal server, a blob folder, a run store, and worker processes that can be killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client as TemporalClient

from perdure import Client
from perdure_payloads.folder import FolderDriver
from perdure_store import migrate
from perdure_store.database import parse
from perdure_worker.embedded import EMBEDDED_STICKY_S
from perdure_worker.processes import WorkerProcess, start_process
from perdure_worker.runtime import connect
from perdure_worker.server import Server, start_server
from perdure_worker.settings import WorkerSettings

from . import flow
from .piece import Piece
from .target import Target

# Small enough that the request, the windows and many replies of the flow are blobs.
BLOB_THRESHOLD = 2048


@dataclass
class Seat:
    """A worker process on a task queue of its own, and the client that starts runs there."""

    settings: WorkerSettings
    client: Client
    process: WorkerProcess | None = None

    async def start(self) -> None:
        """Start the worker and wait until it polls."""
        self.process = await start_process(self.settings)

    async def kill(self) -> None:
        """Kill the worker with SIGKILL."""
        if self.process is not None:
            process, self.process = self.process, None
            await process.kill()

    @property
    def identity(self) -> str:
        """By what name the worker signs in histories."""
        assert self.process is not None
        return f"{self.process.pid}@{socket.gethostname()}"


@dataclass
class Stand:
    """A server and what belongs to it. `db` is its file; None keeps runs in memory."""

    server: Server
    temporal: TemporalClient
    target: Target
    settings: WorkerSettings
    folder: Path
    store: str
    db: Path | None
    cleanup: AsyncExitStack
    piece: Piece = flow.PIECE
    seats: list[Seat] = field(default_factory=list)

    @property
    def blobs(self) -> Path:
        """Folder of the large values."""
        return self.folder / "blobs"

    async def seat(self) -> Seat:
        """Add a worker on a queue of its own."""
        queue = f"seat-{len(self.seats)}"
        settings = self.settings.model_copy(update={"task_queue": queue})
        client = Client(self.temporal, queue, task_timeout=timedelta(seconds=settings.task_timeout_s))
        seat = Seat(settings, client)
        self.seats.append(seat)
        self.cleanup.push_async_callback(seat.kill)
        await seat.start()
        return seat

    async def kill_server(self) -> None:
        """Kill the server with SIGKILL; clients and workers stay."""
        await self.server.child.kill()

    async def restart_server(self) -> None:
        """Start the server again, on its file and its port."""
        port = int(self.server.address.rpartition(":")[2])
        self.server = await start_server(db=self.db, port=port)


@asynccontextmanager
async def standing(
    target: Target, *, file: bool = False, store: str | None = None, piece: Piece = flow.PIECE, **more: Any
) -> AsyncGenerator[Stand]:
    """Set up a stand for the length of the block.

    file: keep the server's runs in a file. store: URL of the run store, without it a file of SQLite.
    more: settings of the workers.
    """
    async with AsyncExitStack() as cleanup:
        folder = Path(tempfile.mkdtemp(prefix="perdure-crash-"))
        cleanup.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
        await asyncio.to_thread(FolderDriver(folder / "blobs").prepare)
        db = folder / "temporal.db" if file else None
        store = store or f"sqlite:///{folder}/store.db"
        await migrate.upgrade(parse(store))
        cleanup.enter_context(_environment(PERDURE_HTTP_ALLOW=f"127.0.0.1:{target.port}", **_compiled(folder)))
        server = await start_server(db=db)
        settings = WorkerSettings(
            address=server.address,
            db=None,
            ui_port=None,
            blobs=str(folder / "blobs"),
            blobs_create=False,
            blob_threshold=BLOB_THRESHOLD,
            store=store,
            sticky_timeout_s=EMBEDDED_STICKY_S,
            graceful_shutdown_s=1.0,
            log_level="error",
            runs_dir=folder / "runs",
            **more,
        )
        stand = Stand(server, await connect(settings), target, settings, folder, store, db, cleanup, piece)
        cleanup.push_async_callback(_stop_server, stand)
        yield stand


def _compiled(folder: Path) -> dict[str, str]:
    # Workers start from bytecode, as installed packages do, whatever this machine thinks of writing it.
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}


@contextmanager
def _environment(**variables: str) -> Generator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def _stop_server(stand: Stand) -> None:
    await stand.server.child.kill()
