"""Many runs at once on one worker and on two: how many end per second, and how long their tasks wait for a worker."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
from graphs import TEXT
from scale_graphs import flow
from temporalio.api.history.v1 import HistoryEvent

from perdure import Client
from perdure_worker.embedded import EmbeddedStack

# Concurrent reads of histories, after the clock has stopped.
READERS = 8

# Where workers are to be the bottleneck: slots of one, and seconds that each node takes.
SLOTS, WAIT_S = 4, 0.25


@dataclass(frozen=True, slots=True)
class Many:
    """Concurrent runs, from the first start to the last result.

    queueing: seconds between a task's being scheduled and its start, of activities and of workflow tasks.
    cpu: seconds that the workers and the server computed.
    """

    runs: int
    seconds: float
    activity_queueing: list[float]
    workflow_queueing: list[float]
    worker_cpu: float
    server_cpu: float

    @property
    def runs_per_s(self) -> float:
        """Completed runs per second."""
        return self.runs / self.seconds


@dataclass(frozen=True, slots=True)
class Throughput:
    """Medians over rounds of `Many`; 95th percentiles over all their tasks, in seconds."""

    runs: int
    runs_per_s: float
    activity_p95: float
    workflow_p95: float
    worker_cores: float
    server_cores: float

    @classmethod
    def of(cls, rounds: list[Many]) -> Throughput:
        """Sum up."""
        return cls(
            runs=rounds[0].runs,
            runs_per_s=statistics.median(each.runs_per_s for each in rounds),
            activity_p95=_p95(wait for each in rounds for wait in each.activity_queueing),
            workflow_p95=_p95(wait for each in rounds for wait in each.workflow_queueing),
            worker_cores=statistics.median(each.worker_cpu / each.seconds for each in rounds),
            server_cores=statistics.median(each.server_cpu / each.seconds for each in rounds),
        )


async def one_and_two(
    stack: EmbeddedStack, server: int | None, runs: int, rounds: int, wait_s: float = 0.0
) -> tuple[Throughput, Throughput]:
    """Measure with one worker process and with two, in turn, so that what else the machine does meets both alike.

    server: process of the server, which may be that of another stack.
    wait_s: what each node of the flow takes, beside the engine.
    """
    client = Client(stack.client, stack.task_queue, task_timeout=stack.task_timeout)
    found: tuple[list[Many], list[Many]] = ([], [])
    for index in range(rounds):
        second: int | None = None
        for workers in (1, 2) if index % 2 == 0 else (2, 1):
            if workers == 2:
                second = await stack.add_worker()
            elif second is not None:
                await stack.stop_worker(second)
                second = None
            await many(stack, client, server, max(10, runs // 10), wait_s)
            found[workers - 1].append(await many(stack, client, server, runs, wait_s))
        if second is not None:
            await stack.stop_worker(second)
    return Throughput.of(found[0]), Throughput.of(found[1])


async def many(stack: EmbeddedStack, client: Client, server: int | None, runs: int, wait_s: float = 0.0) -> Many:
    """Start so many runs of the flow at once and wait for all."""
    graph = flow(wait_s)

    async def one() -> str:
        handle = await client.start(graph, user=TEXT)
        if (outputs := await handle.outputs()) != {"text": TEXT}:
            raise RuntimeError(f"a measured run gave {outputs!r}; its numbers mean nothing.")
        return handle.run_id

    workers = [psutil.Process(pid) for pid in stack.worker_pids]
    servers = [psutil.Process(pid) for pid in (server,) if pid is not None]
    before, began = (_cpu(workers), _cpu(servers)), time.perf_counter()
    ids = await asyncio.gather(*(one() for _ in range(runs)))
    seconds = time.perf_counter() - began
    computed = _cpu(workers) - before[0], _cpu(servers) - before[1]
    activities, tasks = await _queueing(stack, ids)
    return Many(runs, seconds, activities, tasks, *computed)


async def _queueing(stack: EmbeddedStack, ids: list[str]) -> tuple[list[float], list[float]]:
    """Give the waits of all activities and of all workflow tasks."""
    turn = asyncio.Semaphore(READERS)

    async def events(run_id: str) -> list[HistoryEvent]:
        async with turn:
            return list((await stack.client.get_workflow_handle(run_id).fetch_history()).events)

    activities: list[float] = []
    tasks: list[float] = []
    for history in await asyncio.gather(*(events(run_id) for run_id in ids)):
        at = {event.event_id: event.event_time.ToNanoseconds() for event in history}
        for event in history:
            if event.HasField("activity_task_started_event_attributes"):
                scheduled, waits = event.activity_task_started_event_attributes.scheduled_event_id, activities
            elif event.HasField("workflow_task_started_event_attributes"):
                scheduled, waits = event.workflow_task_started_event_attributes.scheduled_event_id, tasks
            else:
                continue
            waits.append((at[event.event_id] - at[scheduled]) / 1e9)
    return activities, tasks


def _p95(waits: Iterable[float]) -> float:
    return statistics.quantiles(waits, n=20)[-1]


def _cpu(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)
