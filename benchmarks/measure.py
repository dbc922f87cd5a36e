"""Measured runs: one function per way of running, each gives seconds and history events."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from graphs import TEXT
from temporalio.client import Client as TemporalClient

from perdure import Client, Graph


@dataclass(frozen=True, slots=True)
class Sample:
    """From the call that starts a run (or many) to its result; `events` are those of one run."""

    seconds: float
    events: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Several samples of one kind."""

    seconds: float
    best: float
    events: int

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Summary:
        """Take the medians."""
        return cls(
            seconds=statistics.median(sample.seconds for sample in samples),
            best=min(sample.seconds for sample in samples),
            events=round(statistics.median(sample.events for sample in samples)),
        )


Measure = Callable[[], Awaitable[Sample]]


def perdure_runs(client: Client, graph: Graph, expected: str, *, runs: int = 1) -> Measure:
    """Measure `runs` concurrent runs of a graph."""

    async def one() -> str:
        handle = await client.start(graph, user=TEXT)
        _check((await handle.outputs())["text"], expected)
        return handle.run_id

    return _measure(client.temporal, one, runs)


def baseline_runs(client: TemporalClient, queue: str, workflow: str, size: int, *, runs: int = 1) -> Measure:
    """Measure `runs` concurrent runs of a workflow written by hand."""

    async def one() -> str:
        handle = await client.start_workflow(
            workflow, args=[size, TEXT], id=f"baseline-{uuid.uuid4()}", task_queue=queue, result_type=str
        )
        _check(await handle.result(), TEXT)
        return handle.id

    return _measure(client, one, runs)


def _measure(client: TemporalClient, one: Callable[[], Awaitable[str]], runs: int) -> Measure:
    async def measure() -> Sample:
        began = time.perf_counter()
        ids = await asyncio.gather(*(one() for _ in range(runs)))
        seconds = time.perf_counter() - began
        described = await client.get_workflow_handle(ids[0]).describe()
        return Sample(seconds, described.history_length)

    return measure


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


def _check(found: str, expected: str) -> None:
    if found != expected:
        raise RuntimeError(f"a measured run gave {found!r} instead of {expected!r}; its numbers mean nothing.")
