"""A worker process for the baseline: built and tuned by the same function as Perdure's own.

Started by `run.py`; it takes the command line of `perdure_worker.main`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from agents_activities import ACTIVITIES
from agents_baseline import WORKFLOWS as AGENT_WORKFLOWS
from baseline import WORKFLOWS
from perdure_bench_nodes.activity import bench_noop
from scale_baseline import WORKFLOWS as SCALE_WORKFLOWS

from perdure_worker.main import leave, parse, writer
from perdure_worker.observe import configure_logging
from perdure_worker.runtime import connect, make_worker, start_polling
from perdure_worker.settings import WorkerSettings


async def serve(settings: WorkerSettings, ready_fd: int | None) -> None:
    """Poll until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await connect(settings)
    polling = await start_polling(
        make_worker(
            client,
            settings,
            workflows=[*WORKFLOWS, *SCALE_WORKFLOWS, *AGENT_WORKFLOWS],
            activities=[bench_noop, *ACTIVITIES],
        )
    )
    writer(ready_fd)({"ready": True, "pid": os.getpid()})
    await stop.wait()
    await polling.stop()


if __name__ == "__main__":
    given, fd = parse(sys.argv[1:])
    configure_logging(given.log_level, given.log_format)
    asyncio.run(serve(given, fd))
    leave(0)
