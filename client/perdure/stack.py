"""An embedded stack for tests, notebooks and the command line: a Temporal server and a worker of one's own.

async with embedded() as client:
    handle = await client.start(graph, inputs)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from perdure_graph.errors import PlatformError

from .client import Client


@asynccontextmanager
async def embedded(
    *, db: Path | None = None, ui: bool = False, demo_model: bool | Path = False
) -> AsyncGenerator[Client]:
    """Start a server and a worker process, yield a client, stop both. `db` keeps runs in a file.

    demo_model: have a fake provider answer for every model; a path is that of its script (docs/models.md).

    Raises:
        PlatformError: the worker extra or the Temporal CLI is missing; the text says how to get it.
    """
    try:
        from perdure_worker.embedded import embedded as start
        from perdure_worker.settings import START_DEMO, WorkerSettings
    except ImportError as error:
        raise PlatformError(
            f"the embedded stack needs the worker ({error}). Install it: pip install 'perdure[worker]'"
        ) from error
    settings = WorkerSettings()
    if demo_model:
        script = demo_model if isinstance(demo_model, Path) else None
        settings = settings.model_copy(update={"demo_model": START_DEMO, "demo_script": script})
    async with start(settings, db=db, ui=ui) as stack:
        yield Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)
