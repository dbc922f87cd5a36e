"""The worker process: `python -m perdure_worker.main --address host:port`.

It connects, optionally proves itself with a smoke run, polls until SIGTERM or SIGINT, drains within the limit
and leaves with an exit code of its own. A second signal ends it at once, and so does the limit an effect that
does not let itself be cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import structlog
from pydantic import ValidationError

from perdure_graph.errors import PerdureError

from .observe import configure_logging
from .settings import WorkerSettings

log = structlog.stdlib.get_logger("perdure.worker")

EXIT_OK = 0
EXIT_FATAL = 1
EXIT_SETTINGS = 2
EXIT_UNDRAINED = 3

# How long effects that were cancelled at the limit may take to end.
CANCEL_S = 5.0

Ready = Callable[[dict[str, Any]], None]


def say_nothing(_message: dict[str, Any]) -> None:
    """Report readiness to nobody."""


async def serve(settings: WorkerSettings, ready: Ready = say_nothing) -> None:
    """Run a worker until SIGTERM or SIGINT, then drain it.

    Raises:
        PlatformError: a wrong tools file, no server, no such store, a broken plug-in, or the smoke run failed.
    """
    from . import pools, runtime, smoke
    from .agents import equipped, read_tools
    from .models import asking
    from .store import recording

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _signalled, number, stop)
    # Before anything that takes a while: who starts a worker with a wrong file is told at once.
    tools = await read_tools(settings)
    client = await runtime.connect(settings)
    if settings.smoke:
        await smoke.smoke_worker(client, settings)
    async with (
        recording(settings) as recorder,
        asking(settings, recorder) as models,
        equipped(settings, recorder, models, tools) as agents,
    ):
        worker = runtime.make_worker(client, settings, recorder=recorder, models=models, agents=agents)
        polling = await runtime.start_polling(worker)
        models.warm()
        ready({"ready": True, "pid": os.getpid(), "task_queue": settings.task_queue})
        log.info("worker ready", address=settings.address, task_queue=settings.task_queue)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({polling.task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        log.info("worker draining", limit_s=settings.graceful_shutdown_s)
        draining = asyncio.create_task(polling.stop())
        try:
            await asyncio.wait({draining}, timeout=settings.graceful_shutdown_s + CANCEL_S)
        finally:
            await pools.close_pools()
    if not draining.done():
        log.error("worker leaves while effects go on; others take them over once their heartbeats are missed")
        leave(EXIT_UNDRAINED)
    await draining


def _signalled(number: int, stop: asyncio.Event) -> None:
    """Drain at the first signal; at the second leave at once, as if killed by it."""
    if stop.is_set():
        leave(128 + number)
    stop.set()


def run(settings: WorkerSettings, ready: Ready = say_nothing) -> int:
    """Serve and give the exit code; every failure is reported, none escapes."""
    configure_logging(settings.log_level, settings.log_format)
    code = EXIT_OK
    try:
        asyncio.run(serve(settings, ready))
    except PerdureError as error:
        sys.stderr.write(f"error: {error}\n")
        ready({"ready": False, "error": str(error)})
        code = EXIT_FATAL
    except Exception as error:
        log.exception("worker failed")
        ready({"ready": False, "error": f"{type(error).__name__}: {error}"})
        code = EXIT_FATAL
    return code


def leave(code: int) -> NoReturn:
    """Exit now: at interpreter exit the SDK's runtime aborts now and then, which would change the code."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def parse(argv: list[str] | None) -> tuple[WorkerSettings, int | None]:
    """Read the command line over the environment; gives the settings and the descriptor for readiness."""
    parser = argparse.ArgumentParser(prog="python -m perdure_worker.main", description=__doc__)
    parser.add_argument("--address", help="host:port of the Temporal server")
    parser.add_argument("--namespace")
    parser.add_argument("--task-queue")
    parser.add_argument("--log-level", choices=["debug", "info", "warning", "error"])
    parser.add_argument("--smoke", action="store_true", default=None, help="prove it with a run first")
    parser.add_argument("--ready-fd", type=int, help="write a line of JSON there when it polls; 1 is stdout")
    given = vars(parser.parse_args(argv))
    ready_fd = given.pop("ready_fd")
    return WorkerSettings(**{name: value for name, value in given.items() if value is not None}), ready_fd


def writer(fd: int | None) -> Ready:
    """Give a function that writes one line of JSON to a descriptor."""
    if fd is None:
        return say_nothing

    def write(message: dict[str, Any]) -> None:
        # Whoever asked may be gone; then nobody waits for the line.
        with suppress(OSError):
            os.write(fd, json.dumps(message).encode() + b"\n")

    return write


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the worker process; never returns."""
    try:
        settings, ready_fd = parse(argv)
    except ValidationError as error:
        sys.stderr.write(f"error: the settings (arguments or PERDURE_* variables) are wrong:\n{error}\n")
        leave(EXIT_SETTINGS)
    leave(run(settings, writer(ready_fd)))


if __name__ == "__main__":
    main()
