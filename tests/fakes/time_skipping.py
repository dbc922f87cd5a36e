"""A Temporal server whose clock jumps to the next timer: the Java test server, fetched once with Maven."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from perdure import Graph, RunHandle
from perdure_graph import naming
from perdure_graph.request import RunRequest, RunResult
from perdure_graph.view import RunView
from perdure_payloads import data_converter
from perdure_store.recorder import Recorder
from perdure_worker.pools import close_pools
from perdure_worker.runtime import make_worker
from perdure_worker.settings import WorkerSettings, default_cache_dir

VERSION = "1.32.0"
START_LIMIT = timedelta(seconds=60)
FETCH_LIMIT_S = 600
STILL_LIMIT_S = 20.0
SHORT_TIMER_S = 300.0

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

    async def start(
        self, graph: Graph, inputs: dict[str, Any] | None = None, *, queue: str | None = None, **request: Any
    ) -> RunHandle:
        """Start a run. Past `perdure.Client`: this server knows no search attributes."""
        asked = RunRequest.model_validate({"graph": graph.document, "inputs": inputs or {}, **request})
        # Only the handle that starting gives lets the clock run while somebody waits for the result.
        return RunHandle(
            await self.env.client.start_workflow(
                naming.WORKFLOW_TYPE,
                asked,
                id=f"long-{uuid4()}",
                task_queue=queue or self.task_queue,
                result_type=RunResult,
            )
        )

    @asynccontextmanager
    async def recording(self, url: str) -> AsyncIterator[str]:
        """Run one more worker, with this run store; gives its queue."""
        queue = f"{self.task_queue}-{uuid4()}"
        recorder = Recorder(url)
        settings = WorkerSettings(task_queue=queue, graceful_shutdown_s=1.0)
        try:
            async with make_worker(self.env.client, settings, recorder=recorder):
                yield queue
        finally:
            await recorder.close()

    async def now(self) -> float:
        """Seconds since the epoch on the server's clock."""
        return (await self.env.get_current_time()).timestamp()

    async def skip(self, **time: float) -> None:
        """Let so much time pass (keywords of `timedelta`)."""
        await self.env.sleep(timedelta(**time))

    async def still(self, handle: RunHandle) -> RunView:
        """Wait, in real time, until a run has nothing to do before its next long timer, and say where it is.

        It reads histories and asks the run nothing meanwhile: this server loses track of a run that moves to a fresh
        history just when it is queried, and then never skips time again.
        """
        async with asyncio.timeout(STILL_LIMIT_S):
            while not is_still((await self._history(handle)).events):
                await asyncio.sleep(0.02)
        return await handle.status()

    async def histories(self, handle: RunHandle) -> list[WorkflowHistory]:
        """All histories of a run, newest first."""
        found = [await self._history(handle)]
        while before := found[-1].events[0].workflow_execution_started_event_attributes.continued_execution_run_id:
            found.append(await self._history(handle, before))
        return found

    async def _history(self, handle: RunHandle, run_id: str | None = None) -> WorkflowHistory:
        return await self.env.client.get_workflow_handle(handle.run_id, run_id=run_id).fetch_history()


def is_still(events: Sequence[HistoryEvent]) -> bool:
    """Whether a history holds no task and no activity in flight, and no timer that ends within minutes."""
    tasks, activities, timers, worked = 0, 0, dict[int, float](), False
    for event in events:
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED:
                tasks += 1
            case EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                tasks, worked = 0, True
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                activities += 1
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED | EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
                activities -= 1
            case EventType.EVENT_TYPE_TIMER_STARTED:
                started = event.timer_started_event_attributes
                timers[event.event_id] = started.start_to_fire_timeout.ToTimedelta().total_seconds()
            case EventType.EVENT_TYPE_TIMER_FIRED:
                del timers[event.timer_fired_event_attributes.started_event_id]
            case EventType.EVENT_TYPE_TIMER_CANCELED:
                del timers[event.timer_canceled_event_attributes.started_event_id]
            case _:
                pass
    return worked and not tasks and not activities and all(seconds > SHORT_TIMER_S for seconds in timers.values())


@asynccontextmanager
async def skipping_or_skip() -> AsyncIterator[Skipping]:
    """`skipping`, or a test that is skipped with the reason where this machine cannot have it."""
    opened = skipping()
    try:
        running = await opened.__aenter__()
    except Unavailable as error:
        pytest.skip(str(error))
    try:
        yield running
    finally:
        await opened.__aexit__(None, None, None)


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
