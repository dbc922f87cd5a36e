"""The embedded Temporal server: the official dev server, tuned, on loopback, as a tethered child."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError

from perdure_graph.errors import PlatformError
from perdure_graph.naming import NAMESPACE, SEARCH_ATTRIBUTES, AttributeType

from .child import Child, spawn
from .temporal_cli import Progress, ensure, silent

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 20.0
STOP_PATIENCE_S = 5.0
NOTHING_TO_SAVE_S = 0.1

# The stock dev server reads each queue of its one shard 20 times a second and spreads tasks over four
# partitions: a chain then takes 100 ms per activity. With the first five values it takes 8. The sixth: timers
# (waits, retries) may fire up to a second late so that hosts with skewed clocks agree; here there is one host. The
# last one: a run that is to be deleted waits until this has passed, 30 s by default.
DYNAMIC_CONFIG = (
    "history.transferProcessorMaxPollRPS=2000",
    "history.timerProcessorMaxPollRPS=2000",
    "history.visibilityProcessorMaxPollRPS=2000",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    'history.timerProcessorMaxTimeShift="10ms"',
    'history.transferProcessorUpdateAckInterval="1s"',
)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    child: Child
    address: str
    ui_url: str | None
    keeps_runs: bool

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self.child.pid

    async def stop(self) -> None:
        """Stop it and wait for its exit."""
        # Its own shutdown takes a second, which is worth waiting for only where a file is open.
        await self.child.stop(STOP_PATIENCE_S if self.keeps_runs else NOTHING_TO_SAVE_S)


def free_port() -> int:
    """Find a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def server_argv(
    cli: Path,
    port: int,
    *,
    ui_port: int | None,
    db: Path | None,
    namespace: str = NAMESPACE,
    codec: str | None = None,
) -> list[str]:
    """Write the command line of the server."""
    argv = [str(cli), "server", "start-dev", "--ip", LOOPBACK, "--port", str(port), "--log-level", "error"]
    argv += ["--headless"] if ui_port is None else ["--ui-ip", LOOPBACK, "--ui-port", str(ui_port)]
    if codec is not None and ui_port is not None:
        argv += ["--ui-codec-endpoint", codec]
    if namespace != NAMESPACE:
        argv += ["--namespace", namespace]
    if db is not None:
        argv += ["--db-filename", str(db)]
    for value in DYNAMIC_CONFIG:
        argv += ["--dynamic-config-value", value]
    for name, kind in SEARCH_ATTRIBUTES.items():
        argv += ["--search-attribute", f"{name}={kind}"]
    return argv


async def start_server(
    cli: Path | None = None,
    *,
    ui: bool = False,
    ui_port: int | None = None,
    db: Path | None = None,
    namespace: str = NAMESPACE,
    codec: str | None = None,
    port: int | None = None,
    progress: Progress = silent,
) -> Server:
    """Start the server and wait until it answers and knows our search attributes.

    port: where it listens, such as that of a server on the same `db` whose clients are still there; None takes a
        free one.
    codec: URL of the codec endpoint that the web UI asks to show payloads.

    Raises:
        PlatformError: no `temporal` command, or the server did not come up (its last lines are in the text).
    """
    found = cli or await asyncio.to_thread(ensure, progress)
    if db is not None:
        db.parent.mkdir(parents=True, exist_ok=True)
    attempts = 3
    for attempt in range(1, attempts + 1):
        chosen = port or free_port()
        shown = (ui_port or free_port()) if ui or ui_port else None
        try:
            argv = server_argv(found, chosen, ui_port=shown, db=db, namespace=namespace, codec=codec)
            return await _start(argv, chosen, ui_port=shown, namespace=namespace, keeps_runs=db is not None)
        except _PortTakenError:
            if attempt == attempts or ui_port is not None or port is not None:
                raise
    raise AssertionError("unreachable")


class _PortTakenError(PlatformError):
    """Somebody took the port between our look and the server's bind."""


async def _start(argv: Sequence[str], port: int, *, ui_port: int | None, namespace: str, keeps_runs: bool) -> Server:
    with tempfile.TemporaryFile() as log:
        child = await spawn(argv, stdout=log, stderr=log)
        ui_url = f"http://{LOOPBACK}:{ui_port}" if ui_port else None
        server = Server(child, f"{LOOPBACK}:{port}", ui_url, keeps_runs)
        try:
            await _until_ready(server, namespace, log)
        except BaseException:
            await child.kill()
            raise
        return server


async def _until_ready(server: Server, namespace: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if not server.child.running:
            raise _explain("The embedded Temporal server exited at once.", log)
        ready = await _accepts(server.address) and await _knows_attributes(server.address, namespace)
        # A stranger may have taken the port first: then the answer was his and our child is gone.
        if ready and server.child.running:
            return
        await asyncio.sleep(0.01)
    raise _explain(f"The embedded Temporal server was not ready after {START_TIMEOUT_S:.0f} s.", log)


async def _accepts(address: str) -> bool:
    host, port = address.rsplit(":", 1)
    try:
        _reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def missing_attributes(client: Client) -> dict[str, AttributeType]:
    """Give the search attributes (name -> type) that the client's namespace lacks.

    Raises:
        PlatformError: the server does not answer the question.
    """
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        answer = await client.operator_service.list_search_attributes(request)
    except RPCError as error:
        raise PlatformError(f"The server does not tell its search attributes: {error}") from error
    return {key: kind for key, kind in SEARCH_ATTRIBUTES.items() if key not in answer.custom_attributes}


async def _knows_attributes(address: str, namespace: str) -> bool:
    try:
        return not await missing_attributes(await Client.connect(address, namespace=namespace))
    except (PlatformError, RuntimeError):
        return False


def _explain(what: str, log: IO[bytes]) -> PlatformError:
    log.seek(0)
    text = log.read().decode(errors="replace").strip()
    kind = _PortTakenError if "address already in use" in text else PlatformError
    return kind(f"{what} Its last lines:\n" + "\n".join(text.splitlines()[-15:]))
