"""The run store of a worker, and of an embedded stack."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from perdure_store.recorder import Recorder
from perdure_store.urls import OFF, kind_of

from .settings import DEFAULT_STORE, WorkerSettings


@asynccontextmanager
async def recording(settings: WorkerSettings) -> AsyncGenerator[Recorder]:
    """Open the run store of a worker for the length of the block; what is waiting then is still written.

    It is opened beside the work: a store that is slow, or away, does not keep a worker from starting.

    Raises:
        PlatformError: the settings name no store.
    """
    url = settings.store or DEFAULT_STORE
    if url != OFF:
        kind_of(url)
    recorder = Recorder(url, limit_s=settings.store_limit_s)
    recorder.open()
    try:
        yield recorder
    finally:
        await recorder.close()


async def temporary_folder(prefix: str, cleanup: AsyncExitStack) -> Path:
    """Make a folder that goes when the stack does."""
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix=prefix)
    cleanup.push_async_callback(asyncio.to_thread, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


async def own_store(settings: WorkerSettings, db: Path | None, cleanup: AsyncExitStack) -> WorkerSettings:
    """Give an embedded stack a run store, unless the settings name one.

    Beside the server's file it lasts as long as that; for a server in memory it is a temporary one.
    """
    if settings.store is not None:
        return settings
    if db is not None:
        path = db.with_name(f"{db.name}.runs.db").absolute()
    else:
        path = await temporary_folder("perdure-store-", cleanup) / "runs.db"
    return settings.model_copy(update={"store": f"sqlite:///{path}"})
