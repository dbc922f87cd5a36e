"""Measured runs: one function per way of running, each gives seconds and history events."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psutil
from graphs import TEXT
from temporalio.client import Client as TemporalClient

from perdure import Client, Graph

BASELINE_QUEUE = "baseline"


@dataclass(frozen=True, slots=True)
class Sample:
    """From the call that starts a run (or many) to its result.

    cpu: seconds that the worker process computed meanwhile; steadier than `seconds` on a machine that is not idle.
    events: length of the history of one run.
    """

    seconds: float
    cpu: float
    events: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Several samples of one kind."""

    seconds: float
    best: float
    cpu: float
    events: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Summary:
        """Take the medians."""
        return cls(
            seconds=statistics.median(sample.seconds for sample in samples),
            cpu=statistics.median(sample.cpu for sample in samples),
            best=min(sample.seconds for sample in samples),
            events=round(statistics.median(sample.events for sample in samples)),
        )


Measure = Callable[[], Awaitable[Sample]]


def perdure_runs(client: Client, worker: int, graph: Graph, *, runs: int = 1) -> Measure:
    """Measure `runs` concurrent runs of a graph; `worker` is the process that performs them."""

    async def one() -> str:
        handle = await client.start(graph, user=TEXT)
        _check((await handle.outputs())["text"])
        return handle.run_id

    return measured(client.temporal, worker, one, runs)


def baseline_runs(client: TemporalClient, worker: int, workflow: str, size: int, *, runs: int = 1) -> Measure:
    """Measure `runs` concurrent runs of a workflow written by hand; `worker` is the process that performs them."""

    async def one() -> str:
        handle = await client.start_workflow(
            workflow, args=[size, TEXT], id=f"baseline-{uuid.uuid4()}", task_queue=BASELINE_QUEUE, result_type=str
        )
        _check(await handle.result())
        return handle.id

    return measured(client, worker, one, runs)


def measured(client: TemporalClient, worker: int, one: Callable[[], Awaitable[str]], runs: int = 1) -> Measure:
    """Measure `runs` concurrent runs; `one` starts a run, waits for its end and gives its id."""
    process = psutil.Process(worker)

    async def measure() -> Sample:
        computed, began = _cpu(process), time.perf_counter()
        ids = await asyncio.gather(*(one() for _ in range(runs)))
        seconds, cpu = time.perf_counter() - began, _cpu(process) - computed
        described = await client.get_workflow_handle(ids[0]).describe()
        return Sample(seconds, cpu, described.history_length)

    return measure


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


async def rounds(kinds: dict[str, Measure], count: int) -> dict[str, Summary]:
    """Warm each kind up once, then measure all of them `count` times in turn, the order reversed every other time.

    In turn, so that what else the machine does meets all kinds alike.
    """
    for measure in kinds.values():
        await measure()
    samples: dict[str, list[Sample]] = {name: [] for name in kinds}
    for index in range(count):
        names = list(kinds) if index % 2 == 0 else list(reversed(kinds))
        for name in names:
            samples[name].append(await kinds[name]())
    return {name: Summary.of(found) for name, found in samples.items()}


def _check(found: str) -> None:
    if found != TEXT:
        raise RuntimeError(f"a measured run gave {found!r} instead of {TEXT!r}; its numbers mean nothing.")
