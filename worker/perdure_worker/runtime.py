"""Connect to Temporal and build workers: the one place that knows how a worker is tuned."""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorAutoscaling, Worker, WorkerDeploymentConfig
from temporalio.worker.workflow_sandbox import SandboxRestrictions

from perdure_graph.errors import PlatformError
from perdure_payloads import data_converter, value_limit
from perdure_payloads.replies import HoldReplies
from perdure_store.recorder import Recorder
from perdure_store.urls import OFF

from . import plugins
from .agents import Agents
from .blobs import noted, tell
from .effects import Effects
from .limits import ReplyLimit
from .models import Models
from .observe import LogContext
from .runner import Runner
from .settings import WorkerSettings


async def connect(settings: WorkerSettings) -> Client:
    """Connect to the server of the settings.

    Raises:
        PlatformError: no address is set, or nothing answers there, or the settings of payloads are wrong.
    """
    if settings.address is None:
        raise PlatformError(
            "No Temporal server is configured. Set PERDURE_ADDRESS=host:port or pass --address; "
            "`perdure dev` starts a server of its own."
        )
    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        return await Client.connect(
            settings.address,
            namespace=settings.namespace,
            data_converter=noted(data_converter(settings)),
            api_key=key,
            tls=settings.tls or key is not None,
        )
    except RuntimeError as error:
        raise PlatformError(
            f"No Temporal server answers at {settings.address!r} ({_reason(error)}). "
            "Start it, or correct PERDURE_ADDRESS."
        ) from error


def _reason(error: RuntimeError) -> str:
    # The SDK's core prints its whole chain of Rust errors; the operating system's words are the last of them.
    words = re.findall(r'message: "([^"]+)"', str(error))
    return words[-1] if words else str(error)


def make_worker(
    client: Client,
    settings: WorkerSettings,
    *,
    workflows: list[type] | None = None,
    activities: list[plugins.Activity] | None = None,
    recorder: Recorder | None = None,
    models: Models | None = None,
    agents: Agents | None = None,
) -> Worker:
    """Build a worker; it runs nothing yet. By default with all registered workflows and activities.

    recorder: where events are recorded; nowhere by default.
    models: gives activities that ask models their runtime; without it they fail and say so.
    agents: the same for those of agents and tools.
    """
    modules = plugins.passthrough_modules()
    plugins.warm(modules)
    slots = settings.max_concurrent_activities
    runner = sandbox(modules)
    largest = value_limit(client.data_converter, settings.max_value_bytes)
    worker = Worker(
        client,
        task_queue=settings.task_queue,
        workflows=plugins.workflows() if workflows is None else workflows,
        activities=plugins.activities() if activities is None else activities,
        activity_executor=ThreadPoolExecutor(slots, thread_name_prefix="activity"),
        workflow_runner=runner,
        interceptors=[
            LogContext(),
            HoldReplies(client.data_converter),
            ReplyLimit(largest),
            Effects(recorder or Recorder(OFF), models, agents),
        ],
        max_cached_workflows=settings.max_cached_workflows,
        max_concurrent_activities=slots,
        max_concurrent_local_activities=slots,
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=settings.sticky_timeout_s),
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_s),
        max_heartbeat_throttle_interval=timedelta(seconds=settings.heartbeat_interval_s),
        deployment_config=deployment(settings),
    )
    if recorder is not None:
        tell(client.data_converter, recorder.note_blob)
    _allow(worker, settings.task_busy_s)
    runner.serve(worker)
    return worker


def _allow(worker: Worker, seconds: float) -> None:
    # The SDK gives workflow code 2 s per task and has no option for more; on a busy machine the JSON of two large
    # values takes longer. One that really hangs still loses its task.
    inner: Any = worker._workflow_worker  # pyright: ignore[reportPrivateUsage]
    if inner is not None:
        inner._deadlock_timeout_seconds = seconds


def sandbox(modules: list[str]) -> Runner:
    """Give the runner of workflow code; `modules` are passed through."""
    return Runner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*modules))


def deployment(settings: WorkerSettings) -> WorkerDeploymentConfig:
    """Name the version of a worker; without a name the SDK hashes every loaded module to find one."""
    version = WorkerDeploymentVersion(settings.deployment_name, settings.build_id)
    if not settings.versioning:
        return WorkerDeploymentConfig(version=version, use_worker_versioning=False)
    behavior = VersioningBehavior[settings.versioning_behavior.upper()]
    return WorkerDeploymentConfig(version=version, use_worker_versioning=True, default_versioning_behavior=behavior)


@dataclass(frozen=True, slots=True)
class Polling:
    """A worker that polls."""

    worker: Worker
    task: asyncio.Task[None]

    async def stop(self) -> None:
        """Drain it and wait for its end; raises what had stopped it before."""
        if not self.task.done():
            await self.worker.shutdown()
        await self.task


async def start_polling(worker: Worker) -> Polling:
    """Start a worker and wait until it polls.

    Raises:
        PlatformError: the server refuses it (no such namespace, no permission).
    """
    task = asyncio.create_task(worker.run(), name="perdure-worker")
    while not worker.is_running:
        if task.done():
            try:
                await task
            except RuntimeError as error:
                raise PlatformError(
                    f"The worker cannot poll {worker.task_queue!r} ({error}). "
                    "Check that the namespace exists and that the key may use it."
                ) from error
            break
        await asyncio.sleep(0.002)
    return Polling(worker, task)
