"""A Temporal server whose clock jumps to the next timer: the Java test server, fetched once with Maven."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from temporalio.testing import WorkflowEnvironment

from perdure import Graph, RunHandle
from perdure_graph import naming
from perdure_graph.request import RunRequest, RunResult
from perdure_graph.view import RunView
from perdure_payloads import data_converter
from perdure_worker.pools import close_pools
from perdure_worker.runtime import make_worker
from perdure_worker.settings import WorkerSettings, default_cache_dir

VERSION = "1.32.0"
START_LIMIT = timedelta(seconds=60)
FETCH_LIMIT_S = 600

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>perdure</groupId><artifactId>temporal-test-server-fetch</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>io.temporal</groupId><artifactId>temporal-test-server</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""

# Nothing ends the server when its parent is killed with SIGKILL, so it looks for itself.
_WRAPPER = """#!/bin/sh
D=$(cd "$(dirname "$0")" && pwd)
(while kill -0 "$PPID" && kill -0 "$$"; do sleep 2; done; kill "$$") >/dev/null 2>&1 </dev/null &
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto -cp "$D/lib/*" io.temporal.testserver.TestServer "$@"
"""


class Unavailable(Exception):
    """The server cannot be had on this machine; the text says why."""


def ensure() -> Path:
    """Give the path of the server's command; the first call on a machine fetches it (33 MB).

    Raises:
        Unavailable: no Java, no Maven, or Maven does not get it.
    """
    home = default_cache_dir() / "temporal-test-server"
    command = home / VERSION / "temporal-test-server"
    if shutil.which("java") is None:
        raise Unavailable("the time-skipping server needs `java` on PATH")
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "lock"):
        if not command.exists():
            _fetch(home, command.parent)
    return command


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(home: Path, target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("the time-skipping server is fetched with `mvn`, which is not on PATH")
    with tempfile.TemporaryDirectory(dir=home) as name:
        made = Path(name) / "made"
        made.mkdir()
        (made / "pom.xml").write_text(_POM)
        argv = [maven, "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"]
        try:
            done = subprocess.run(
                argv,
                cwd=made,
                capture_output=True,
                text=True,
                timeout=FETCH_LIMIT_S,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"Maven did not get the time-skipping server within {FETCH_LIMIT_S} s") from error
        if done.returncode or not any((made / "lib").glob("temporal-test-server-*.jar")):
            raise Unavailable(f"Maven could not get the time-skipping server: {(done.stdout + done.stderr)[-500:]}")
        wrapper = made / "temporal-test-server"
        wrapper.write_text(_WRAPPER)
        wrapper.chmod(0o755)
        made.rename(target)


@dataclass(frozen=True)
class Skipping:
    """A server with one clock for all its runs, and a worker of this process: one test at a time."""

    env: WorkflowEnvironment
    task_queue: str

    async def start(self, graph: Graph, inputs: dict[str, Any] | None = None, **request: Any) -> RunHandle:
        """Start a run. Past `perdure.Client`: this server knows no search attributes."""
        asked = RunRequest.model_validate({"graph": graph.document, "inputs": inputs or {}, **request})
        # Only the handle that starting gives lets the clock run while somebody waits for the result.
        return RunHandle(
            await self.env.client.start_workflow(
                naming.WORKFLOW_TYPE, asked, id=f"long-{uuid4()}", task_queue=self.task_queue, result_type=RunResult
            )
        )

    async def now(self) -> float:
        """Seconds since the epoch on the server's clock."""
        return (await self.env.get_current_time()).timestamp()

    async def skip(self, **time: float) -> None:
        """Let so much time pass (keywords of `timedelta`)."""
        await self.env.sleep(timedelta(**time))

    async def until(self, handle: RunHandle, condition: Callable[[RunView], bool]) -> RunView:
        """Wait, in real time, until the view of a run fits."""
        async with asyncio.timeout(20):
            while not condition(view := await handle.status()):
                await asyncio.sleep(0.02)
        return view


@asynccontextmanager
async def skipping(**settings: Any) -> AsyncIterator[Skipping]:
    """Run the server and a worker, sandboxed as in production, for the length of the block.

    Raises:
        Unavailable: the server cannot be had.
    """
    command = await asyncio.to_thread(ensure)
    env = await WorkflowEnvironment.start_time_skipping(
        data_converter=data_converter(),
        test_server_existing_path=str(command),
        test_server_startup_timeout=START_LIMIT,
    )
    async with env:
        queue = f"long-{os.getpid()}"
        chosen = WorkerSettings(task_queue=queue, graceful_shutdown_s=1.0, **settings)
        async with make_worker(env.client, chosen):
            yield Skipping(env, queue)
        await close_pools()
