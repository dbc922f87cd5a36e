"""Complaint 7: a stop that is no stop."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from complaints.flows import Target, call, chain, counting_loop, events_of, graph, reached

from fakes.graphs import code, end, iteration
from perdure import Client, Graph, RunHandle, RunOptions
from perdure_graph.view import RunView


def in_a_row(url: str) -> Graph:
    return chain(*(call(f"n{number}", f"{url}n{number}") for number in range(20)))


def side_by_side(url: str) -> Graph:
    """Four rows at once."""
    names = [[f"r{row}n{number}" for number in range(6)] for row in range(4)]
    nodes = [call(name, url + name) for row in names for name in row]
    edges: list[tuple[str, ...]] = [("start", row[0]) for row in names]
    edges += [pair for row in names for pair in itertools.pairwise(row)]
    return graph([*nodes, end()], [*edges, *((row[-1], "end") for row in names)])


def items(url: str) -> Graph:
    each = call("each", url + "item{{#it.index#}}", "it", isInIteration=True, iteration_id="it")
    flow = iteration(["make", "l"], [each], [("its", "each")], ["each", "body"], is_parallel=True, parallel_nums=3)
    make = code("make", "def main():\n    return {'l': list(range(60))}", {"l": "array[number]"})
    edges = [edge for edge in flow.edges if (edge.source, edge.target) != ("start", "it")]
    return graph(
        [make, *flow.nodes[1:]],
        [("start", "make"), ("make", "it"), *((edge.source, edge.handle, edge.target) for edge in edges)],
    )


def rounds(url: str) -> Graph:
    inner = {"isInLoop": True, "loop_id": "lo"}
    body = [call("each", url + "round{{#lo.count#}}", "lo", **inner)]
    inside = [("los", "each"), ("each", "keep")]
    nodes = counting_loop(100, body, inside)
    return graph([*nodes, end(n=["lo", "count"])], [("start", "lo"), ("lo", "end"), *inside])


Way = Callable[[RunHandle, Client], Awaitable[None]]


async def by_command(handle: RunHandle, _perdure: Client) -> None:
    assert (await handle.stop("enough")).status == "stopped"


async def by_signal(handle: RunHandle, perdure: Client) -> None:
    await perdure.temporal.get_workflow_handle(handle.run_id).signal("stop", {"reason": "enough"})
    await handle.result()


async def while_paused(handle: RunHandle, _perdure: Client) -> None:
    await handle.pause()
    await handle.stop()


async def by_two_at_once(handle: RunHandle, perdure: Client) -> None:
    other = Client(perdure.temporal, perdure.task_queue).run(handle.run_id)
    answers = await asyncio.gather(handle.stop(), other.stop(), return_exceptions=True)
    assert any(isinstance(answer, RunView) for answer in answers), "one of them did stop the run"


@pytest.mark.parametrize(
    ("flow", "options"),
    [
        (in_a_row, RunOptions()),
        (side_by_side, RunOptions()),
        (items, RunOptions()),
        (items, RunOptions(window_items=10)),
        (rounds, RunOptions()),
    ],
    ids=["row", "branches", "iteration", "windows", "loop"],
)
async def test_complaint_07_stop_answers_and_nothing_starts(
    perdure: Client, target: Target, flow: Callable[[str], Graph], options: RunOptions
) -> None:
    """Stop was answered with success, and the nodes went on running."""

    async def stopped(way: Way) -> None:
        name = f"{way.__name__}."
        handle = await perdure.start(flow(target.url(f"/slow?s=0.15&of={name}")), {}, options=options)
        await reached(lambda: target.hits(name).total() >= 3)
        await way(handle, perdure)
        seq = (await handle.status()).seq
        # What left the worker just before the stop may still be on the wire.
        await asyncio.sleep(0.2)
        asked = target.hits(name)
        await asyncio.sleep(0.6)
        assert target.hits(name) == asked, f"something started after {name}"
        assert (await handle.result()).status == "stopped"
        events = await events_of(handle)
        assert (events[-1].type, events[-1].seq) == ("run_finished", seq), "nothing is said after the end"

    await asyncio.gather(*(stopped(way) for way in (by_command, by_signal, while_paused, by_two_at_once)))


async def test_complaint_07_what_was_in_flight_is_discarded(perdure: Client, target: Target) -> None:
    """The policy: a call that was on its way is cancelled, its answer counts for nothing, what was done is kept."""
    flow = chain(
        call("done", target.url("/hit?of=done")),
        call("hold", target.url("/hold?of=hold")),
        call("next", target.url("/hit?of=next")),
        body=["done", "body"],
    )
    handle = await perdure.start(flow, {})
    await reached(lambda: target.hits()["hold"] == 1)
    await handle.stop("enough")
    variables: dict[str, Any] = await handle.variables()
    target.release.set()
    await asyncio.sleep(0.3)
    assert target.hits() == {"done": 1, "hold": 1}
    finished = [event.node_id for event in await events_of(handle) if event.type == "node_finished"]
    assert finished == ["start", "done"]
    assert variables["done"]["body"] == "ok"
    assert "hold" not in await handle.variables()
