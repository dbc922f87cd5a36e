"""Concurrency is bounded: by the iteration, by the run, by the worker; whatever is wider waits its turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from perdure_bench_nodes.effects import BenchNoop, BenchReply
from scale.flows import asked, asks, at_once, chain, each_item, histories, two_iterations

from fakes.driver import Driver
from fakes.http_server import HttpServer, http_server
from perdure import Client, RunOptions
from perdure_graph.commands import Begin, Call
from perdure_graph.effects import Effect
from perdure_graph.graph import Graph
from perdure_graph.request import RunRequest
from perdure_worker.embedded import EmbeddedStack, embedded
from perdure_worker.settings import WorkerSettings

RUNS, NODES, SLOTS = 40, 10, 3


def in_flight(run: Driver) -> int:
    """Effects that a run and its windows wait for."""
    return sum(in_flight(each) if isinstance(each, Driver) else isinstance(each, Call) for each in run.pending.values())


def echo(effect: Effect) -> BenchReply:
    assert isinstance(effect, BenchNoop)
    return BenchReply(text=effect.text)


def most_in_flight(graph: Graph, items: int, options: RunOptions) -> int:
    """Run in memory; give the most effects that were in flight at one moment."""
    given = {"items": {"l": [str(index) for index in range(items)]}}
    run = Driver(graph, RunRequest(graph=graph.document, inputs=given, options=options), performer=echo)
    run.send(Begin())
    most = 0
    while not run.state.ended:
        most = max(most, in_flight(run))
        assert run.tick()
    assert set(map(tuple, run.state.outputs.values())) == {tuple(given["items"]["l"])}
    return most


@pytest.mark.parametrize(
    ("parallel", "max_parallel", "most"),
    [(1, 500, 1), (16, 500, 16), (7, 500, 7), (16, 4, 4), (16, 5, 4), (3, 2, 2), (7, 3, 3), (16, 1, 1)],
)
@pytest.mark.parametrize("window_items", [10, 100])
def test_no_wider_than_the_iteration_and_the_run_may_be(
    parallel: int, max_parallel: int, most: int, window_items: int
) -> None:
    """Eight windows once ran eight effects of a run that was allowed four."""
    options = RunOptions(max_parallel=max_parallel, window_items=window_items)
    # Without windows the run gives each item a place as it comes free; windows share the places evenly.
    exactly = most if window_items == 10 else min(parallel, max_parallel)
    assert most_in_flight(each_item(parallel), 60, options) == exactly


@pytest.mark.parametrize("max_parallel", [1, 2, 5, 8, 12, 500])
def test_two_iterations_side_by_side_share_the_places_of_the_run(max_parallel: int) -> None:
    options = RunOptions(max_parallel=max_parallel, window_items=10)
    most = most_in_flight(two_iterations(8), 60, options)
    assert (max_parallel if max_parallel <= 2 else 4) <= most <= min(16, max_parallel)


async def test_the_bound_of_a_run_holds_over_all_its_windows(perdure: Client, stack: EmbeddedStack) -> None:
    items = [f"item {index}" for index in range(80)]
    options = RunOptions(max_parallel=4, window_items=10)
    handle = await perdure.start(each_item(16), {"items": {"l": items}}, options=options)
    assert await handle.outputs() == {"out": items}
    assert at_once(await histories(stack.client, handle.run_id)) == 4


@pytest.fixture
async def target() -> AsyncIterator[HttpServer]:
    async with http_server() as server:
        yield server


@pytest.fixture
async def narrow(
    stack: EmbeddedStack, worker_settings: WorkerSettings, target: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[EmbeddedStack]:
    """Two workers with few slots, on the session's server."""
    monkeypatch.setenv("PERDURE_HTTP_ALLOW", f"127.0.0.1:{target.port}")
    changes = {"address": stack.address, "task_queue": "scale-narrow", "max_concurrent_activities": SLOTS}
    async with embedded(worker_settings.model_copy(update=changes), workers=2) as mine:
        yield mine


async def test_a_second_worker_takes_its_share_and_neither_takes_more_than_its_slots(
    narrow: EmbeddedStack, target: HttpServer
) -> None:
    client = Client(narrow.client, narrow.task_queue, task_timeout=narrow.task_timeout)
    graph = asks(target.url("/wait"))
    async with asyncio.timeout(60):
        started = [await client.start(graph) for _ in range(4 * SLOTS)]
        while asked(target, "/wait") < 2 * SLOTS:
            await asyncio.sleep(0.02)
        # All places of both workers are taken, so nothing more may arrive.
        await asyncio.sleep(0.5)
        assert asked(target, "/wait") == 2 * SLOTS
        target.release.set()
        assert [await handle.outputs() for handle in started] == [{"said": "at last"}] * len(started)
    assert asked(target, "/wait") == len(started)


async def test_many_runs_at_once_on_one_worker_all_complete(perdure: Client) -> None:
    """`make scale` runs 200 and says how fast."""
    graph = chain(NODES)
    started = await asyncio.gather(*(perdure.start(graph, {"text": f"run {index}"}) for index in range(RUNS)))
    outputs = await asyncio.gather(*(handle.outputs() for handle in started))
    assert outputs == [{"text": f"run {index}"} for index in range(RUNS)]
