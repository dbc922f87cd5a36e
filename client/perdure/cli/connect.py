"""Which server a command speaks to: the one it is told, a running `perdure dev`, or one of its own."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure_graph.errors import InvalidInputs, PlatformError
from perdure_graph.naming import NAMESPACE, TASK_QUEUE

from ..dev_state import payloads_with, running

if TYPE_CHECKING:
    from perdure.client import Client
    from perdure_payloads import PayloadSettings
    from perdure_worker.embedded import EmbeddedStack
    from perdure_worker.settings import WorkerSettings

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Server:
    """A Temporal server and the queue on which runs are started; `blobs` and `store` where known from elsewhere."""

    address: str
    namespace: str
    task_queue: str
    blobs: str | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Demo:
    """A fake provider in place of all models; `script` says what it answers."""

    script: Path | None = None

    @classmethod
    def of(cls, wanted: bool, script: Path | None) -> Demo | None:
        """Read the options `--demo-model` and `--demo-script`; the second implies the first."""
        return cls(script) if wanted or script is not None else None

    def settings(self) -> dict[str, Any]:
        """Give the settings of the stack."""
        return {"demo_model": "start", "demo_script": self.script}


def configured(address: str | None) -> Server | None:
    """Give the server of `--address` or `PERDURE_ADDRESS`; None when there is none."""
    if not address:
        return None
    namespace = os.environ.get("PERDURE_NAMESPACE") or NAMESPACE
    task_queue = os.environ.get("PERDURE_TASK_QUEUE") or TASK_QUEUE
    dev = next((stack for stack in running() if stack.address == address), None)
    return Server(address, namespace, task_queue, dev and dev.blobs, dev and dev.store)


def required(address: str | None) -> Server:
    """Give the configured server, else that of the one running `perdure dev`.

    Raises:
        PlatformError: there is none, or several; the text says what to do.
    """
    if (chosen := configured(address)) is not None:
        return chosen
    stacks = running()
    if not stacks:
        raise PlatformError(
            "no Temporal server is configured and no `perdure dev` is running. Start `perdure dev` in another "
            "terminal, or give the address of a server with --address or in PERDURE_ADDRESS."
        )
    if len(stacks) > 1:
        listed = ", ".join(f"{stack.address} (pid {stack.pid})" for stack in stacks)
        raise PlatformError(f"several `perdure dev` are running: {listed}. Choose one with --address.")
    dev = stacks[0]
    return Server(dev.address, dev.namespace, dev.task_queue, dev.blobs, dev.store)


def known_dev(address: str | None) -> Server | None:
    """Give the configured server, else the one running `perdure dev`; None when there is none, or several."""
    if (chosen := configured(address)) is not None:
        return chosen
    return required(None) if len(running()) == 1 else None


async def connect(server: Server) -> Client:
    """Connect to a server; key and TLS come from `PERDURE_API_KEY` and `PERDURE_TLS`.

    Raises:
        PlatformError: no server answers there.
    """
    from perdure.client import Client
    from perdure_payloads import data_converter

    options: dict[str, Any] = {}
    key = os.environ.get("PERDURE_API_KEY")
    if key or os.environ.get("PERDURE_TLS", "").lower() in ("1", "true", "yes", "on"):
        options = {"api_key": key or None, "tls": True}
    options["data_converter"] = data_converter(payload_settings(server))
    return await Client.connect(
        server.address, namespace=server.namespace, task_queue=server.task_queue, store=server.store, **options
    )


def payload_settings(server: Server | None) -> PayloadSettings:
    """Give the settings of payloads; the blobs of a running `perdure dev` are where it keeps them.

    Raises:
        PlatformError: a `PERDURE_*` variable is wrong.
    """
    return payloads_with(server.blobs if server else None)


@asynccontextmanager
async def connected(
    server: Server | None, say: Callable[[str], None], *, worker_process: bool, demo: Demo | None = None
) -> AsyncGenerator[Client]:
    """Connect to a server, or to a stack of our own for the length of the block when there is none.

    worker_process: whether the worker of that stack gets a process of its own: better for many runs, slower to start.
    demo: that stack has a fake provider answer for every model.

    Raises:
        PlatformError: no server answers, or a stack cannot be started.
    """
    if server is not None:
        if demo is not None:
            raise InvalidInputs(
                f"--demo-model needs workers of our own, and the run goes to the server {server.address!r}. Leave "
                "--address out, or start the server with `perdure dev --demo-model`."
            )
        yield await connect(server)
        return
    from perdure.client import Client

    chosen = settings(address=None, db=None, ui_port=None, **(demo.settings() if demo else {}))
    async with own_stack(say, chosen, worker_process=worker_process) as stack:
        yield Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout, store=stack.store_url)


@asynccontextmanager
async def own_stack(
    say: Callable[[str], None], chosen: WorkerSettings, *, ui: bool = False, worker_process: bool = True
) -> AsyncGenerator[EmbeddedStack]:
    """Run a server and a worker for the length of the block.

    Raises:
        PlatformError: the worker extra or the Temporal CLI is missing; the text says how to get it.
    """
    try:
        from perdure_worker.embedded import embedded
        from perdure_worker.observe import configure_logging
    except ImportError as error:
        raise lacks_worker(error) from error
    if not worker_process:
        configure_logging(chosen.log_level, chosen.log_format)
        quiet_core()
    async with embedded(chosen, ui=ui, progress=say, worker_process=worker_process) as stack:
        yield stack


def quiet_core() -> None:
    """Let the SDK's core report errors only; call it before the first client."""
    # The SDK's core warns, with tokens a screen long, of work that ended after a stop: that is what a stop does.
    from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

    errors = TelemetryFilter(core_level="ERROR", other_level="ERROR")
    Runtime.set_default(
        Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=errors))), error_if_already_set=False
    )


def settings(**given: Any) -> WorkerSettings:
    """Read the settings of a worker from arguments and `PERDURE_*` variables.

    Raises:
        InvalidInputs: one of them is wrong.
    """
    from pydantic import ValidationError

    from perdure_worker.settings import WorkerSettings

    try:
        return WorkerSettings(**given)
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in error.errors())
        text = f"the settings (options or PERDURE_* variables) are wrong: {details}."
        raise InvalidInputs(text, field=str(error.errors()[0]["loc"][0])) from error


def lacks_worker(error: ImportError) -> PlatformError:
    """Say how to get what a worker needs."""
    return PlatformError(f"this needs the worker ({error}). Install it: pip install 'perdure[worker]'")


@asynccontextmanager
async def patience(say: Callable[[str], None], server: Server | None) -> AsyncGenerator[Callable[[], None]]:
    """Say what is probably missing when nothing is heard for a while; the block calls what it gets once it hears."""
    heard = asyncio.Event()

    async def watch() -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await heard.wait()
        except TimeoutError:
            queue = f" on queue {server.task_queue!r}" if server else ""
            say(f"still waiting: no worker answers{queue}. Start one with `perdure worker`; the run waits for it.")

    watching = asyncio.create_task(watch())
    try:
        yield heard.set
    finally:
        watching.cancel()
