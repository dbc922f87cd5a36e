"""The worker process of what is written by hand."""

from __future__ import annotations

import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from measure import BASELINE_QUEUE

from perdure_worker.child import spawn
from perdure_worker.settings import WorkerSettings


@asynccontextmanager
async def baseline_worker(settings: WorkerSettings) -> AsyncGenerator[int]:
    """Run the baseline's worker for the length of the block; gives its process id."""
    script = str(Path(__file__).with_name("worker.py"))
    env = {**os.environ, **settings.model_copy(update={"task_queue": BASELINE_QUEUE}).to_env()}
    child = await spawn([sys.executable, script, "--ready-fd", "1"], env=env, stdout=PIPE)
    try:
        assert child.process.stdout is not None
        if not json.loads(await child.process.stdout.readline() or "{}").get("ready"):
            raise RuntimeError("the baseline's worker did not start; its own message is on stderr.")
        yield child.pid
    finally:
        await child.stop(settings.graceful_shutdown_s + 5)
