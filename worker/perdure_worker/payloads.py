"""Payloads of an embedded stack: a blob folder as lasting as its server, and an endpoint that lets its UI read them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from perdure_payloads import PayloadSettings
from perdure_payloads.converter import driver_of
from perdure_payloads.folder import FolderDriver

from .settings import WorkerSettings
from .store import temporary_folder
from .temporal_cli import Progress


async def own_blobs(settings: WorkerSettings, db: Path | None, cleanup: AsyncExitStack) -> WorkerSettings:
    """Give a stack whose server is its own a blob folder, unless the settings name one.

    Beside the server's file it lasts as long as that; for a server in memory it is a temporary one. Workers are told
    not to make it: one that is missing later is away, and a new one in its place would be a wrong one.

    Raises:
        BlobsUnavailable: the folder cannot be made.
    """
    if "blobs" not in settings.model_fields_set:
        if db is not None:
            settings = settings.model_copy(update={"blobs": str(db.with_name(f"{db.name}.blobs").absolute())})
        else:
            folder = await temporary_folder("perdure-blobs-", cleanup)
            settings = settings.model_copy(update={"blobs": str(folder)})
    driver = driver_of(settings)
    if isinstance(driver, FolderDriver):
        await asyncio.to_thread(driver.prepare)
        settings = settings.model_copy(update={"blobs": str(driver.root), "blobs_create": False})
    return settings


async def codec_endpoint(settings: WorkerSettings, cleanup: AsyncExitStack, progress: Progress) -> str | None:
    """Start the codec endpoint for the stack's UI and give its URL; None where the extra `api` is missing."""
    try:
        from perdure_payloads.endpoint import EndpointSettings
        from perdure_payloads.endpoint_server import serving
    except ImportError as error:
        progress(f"the web UI cannot show large or encrypted payloads ({error}): pip install 'perdure[api]'")
        return None
    shared = {name: getattr(settings, name) for name in PayloadSettings.model_fields}
    # The UI can send no token of ours; the endpoint answers to this machine only.
    chosen = EndpointSettings(**shared, codec_token=None, codec_origins="")
    return await cleanup.enter_async_context(serving(chosen))
