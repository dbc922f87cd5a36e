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
async def embedded(*, db: Path | None = None, ui: bool = False) -> AsyncGenerator[Client]:
    """Start a server and a worker process, yield a client, stop both. `db` keeps runs in a file.

    Raises:
        PlatformError: the worker extra or the Temporal CLI is missing; the text says how to get it.
    """
    try:
        from perdure_worker.embedded import embedded as start
    except ImportError as error:
        raise PlatformError(
            f"the embedded stack needs the worker ({error}). Install it: pip install 'perdure[worker]'"
        ) from error
    async with start(db=db, ui=ui) as stack:
        yield Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)
