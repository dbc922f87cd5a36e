"""A large iteration: how fast its items go, how long its histories get, how much memory its worker takes."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psutil
from measure import BASELINE_QUEUE, Measure, Sample
from scale_graphs import iteration
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from perdure import Client
from perdure_graph import naming
from perdure_graph.events import WindowFinished
from perdure_graph.windows import MAX_LANES

WINDOW = 50
# Where the memory of the worker is read, as shares of the items.
MARKS = (0.1, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class Large:
    """One iteration over many items, and all the histories that it took.

    histories: lengths in events: of the run, of its windows, of each history of those that moved to a fresh one.
    memory: bytes of the worker process, by the share of the items that were done.
    """

    items: int
    seconds: float
    histories: list[int]
    memory: dict[float, int]

    @property
    def items_per_s(self) -> float:
        """Items over the whole time of the run."""
        return self.items / self.seconds

    @property
    def memory_ratio(self) -> float:
        """Memory at the end over memory at the first mark; 1 is flat."""
        return self.memory[MARKS[-1]] / self.memory[MARKS[0]]


def perdure_items(client: Client, worker: int, count: int, parallel: int) -> Measure:
    """Measure an iteration; `worker` is the process that performs it."""

    async def one() -> None:
        handle = await client.start(iteration(parallel), {"items": {"list": texts(count)}})
        _check((await handle.outputs())["texts"], count)

    return _measure(worker, one)


def baseline_items(client: TemporalClient, worker: int, count: int, parallel: int) -> Measure:
    """Measure the same work written by hand; `worker` is the process that performs it."""
    lanes = max(n for n in range(1, MAX_LANES + 1) if parallel % n == 0)

    async def one() -> None:
        handle = await client.start_workflow(
            "BaselineItems",
            args=[texts(count), WINDOW, lanes, parallel // lanes],
            id=f"baseline-{uuid.uuid4()}",
            task_queue=BASELINE_QUEUE,
            result_type=list[str],
        )
        _check(await handle.result(), count)

    return _measure(worker, one)


def _measure(worker: int, one: Callable[[], Awaitable[None]]) -> Measure:
    process = psutil.Process(worker)

    async def measure() -> Sample:
        computed, began = sum(process.cpu_times()[:2]), time.perf_counter()
        await one()
        return Sample(time.perf_counter() - began, sum(process.cpu_times()[:2]) - computed, 0)

    return measure


async def large(client: Client, worker: int, count: int, parallel: int) -> Large:
    """Run one large iteration over a code node, reading the worker's memory on the way."""
    process = psutil.Process(worker)
    began = time.perf_counter()
    handle = await client.start(iteration(parallel, "code"), {"items": {"list": texts(count)}})
    memory: dict[float, int] = {}
    done = windows = 0
    async for event in handle.events():
        if isinstance(event, WindowFinished):
            windows += 1
            done += event.count
            for mark in MARKS:
                if done >= mark * count:
                    memory.setdefault(mark, process.memory_info().rss)
    _check((await handle.outputs())["texts"], count)
    seconds = time.perf_counter() - began
    return Large(count, seconds, await histories(client.temporal, handle.run_id, 1 + windows), memory)


async def histories(client: TemporalClient, run_id: str, least: int) -> list[int]:
    """Give the lengths of all histories of a run and its windows, as soon as at least so many have ended."""
    kinds = f"'{naming.WORKFLOW_TYPE}', '{naming.WINDOW_TYPE}'"
    query = f"WorkflowId STARTS_WITH '{run_id}' AND WorkflowType IN ({kinds})"
    async with asyncio.timeout(60):
        while True:
            found = [each async for each in client.list_workflows(query)]
            ended = [each for each in found if each.status is not WorkflowExecutionStatus.RUNNING]
            if len(ended) == len(found) >= least:
                return [each.history_length for each in found]
            await asyncio.sleep(0.2)


def texts(count: int) -> list[str]:
    """Items, each of its own."""
    return [f"item {index}" for index in range(count)]


def _check(found: list[str], count: int) -> None:
    if found != texts(count):
        raise RuntimeError(f"an iteration over {count} items gave back others; its numbers mean nothing.")
