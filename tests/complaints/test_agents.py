"""Complaint 16: something that goes round in circles ends by name, and what it had so far can be read.

These are loops; agents, which have a detector of their own, are in `test_agent_limits`.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from complaints.flows import counting_loop, events_of, graph, shout

from fakes.graphs import code, end
from perdure import Client, Graph, RunFailed, RunOptions

ROUNDS = 40


def circle(rounds: int, body: list[Any], inside: list[tuple[str, ...]], stop_at: int | None = None) -> Graph:
    """start -> first -> lo -> last -> end; the end reads them all."""
    nodes = counting_loop(rounds, body, inside, stop_at)
    first, last = shout("first", x=["start", "x"]), shout("last", n=["lo", "count"])
    return graph(
        [first, *nodes, last, end(first=["first", "output"], n=["lo", "count"], last=["last", "output"])],
        [("start", "first"), ("first", "lo"), ("lo", "last"), ("last", "end"), *inside],
    )


def body() -> tuple[list[Any], list[tuple[str, ...]]]:
    step = code("step", "def main(n):\n    return {'n': n + 1}", {"n": "number"}, "lo", n=["lo", "count"])
    return [step], [("los", "step"), ("step", "keep")]


@pytest.mark.parametrize(("stop_at", "count", "reason"), [(None, 12, "loop_completed"), (5, 5, "loop_break")])
async def test_complaint_16_a_loop_whose_condition_never_holds_ends_after_its_rounds_and_says_so(
    perdure: Client, stop_at: int | None, count: int, reason: str
) -> None:
    """An agent went round until a recursion limit of the library blew up."""
    handle = await perdure.start(circle(12, *body(), stop_at), {"x": 1})
    assert await handle.outputs() == {"first": "1", "n": count, "last": str(count)}
    [ended] = [event for event in await events_of(handle) if event.type == "loop_completed"]
    assert (ended.status, ended.steps, ended.reason, ended.outputs["count"]) == ("succeeded", count, reason, count)


async def test_complaint_16_the_step_limit_ends_a_run_by_name_and_keeps_what_it_had(perdure: Client) -> None:
    """The end names the limit, the node it met and the number; all that came before can be read."""
    handle = await perdure.start(circle(100_000, *body()), {"x": 1}, options=RunOptions(max_steps=ROUNDS))
    async with asyncio.timeout(60):
        result = await handle.result()
    assert result.error is not None
    assert (result.status, result.error.type, result.steps) == ("failed", "MaxStepsExceeded", ROUNDS + 1)
    assert result.error.message == f"Maximum execution steps exceeded: {ROUNDS + 1} > {ROUNDS}"
    assert result.error.node in ("step", "keep")
    with pytest.raises(RunFailed, match="Maximum execution steps exceeded") as caught:
        await handle.outputs()
    assert "recursion" not in str(caught.value).lower()
    variables = await handle.variables()
    assert variables["first"] == {"output": "1"}
    assert 10 < variables["lo"]["count"] < ROUNDS
    events = await events_of(handle)
    assert [event.index for event in events if event.type == "loop_next"][:3] == [1, 2, 3]
    assert (events[-1].type, getattr(events[-1], "error_type", "")) == ("run_finished", "MaxStepsExceeded")


async def test_complaint_16_many_rounds_without_an_effect_are_no_recursion(perdure: Client) -> None:
    """Rounds that ask nothing of the outside world all happen at once: no stack grows with them."""
    handle = await perdure.start(circle(1200, [], [("los", "keep")]), {"x": 1})
    async with asyncio.timeout(60):
        assert (await handle.outputs())["n"] == 1200


async def test_complaint_16_a_long_row_of_nodes_is_no_recursion(perdure: Client) -> None:
    """The same for a thousand nodes in a row, and more than Python's stack holds."""
    names = [f"n{number}" for number in range(1200)]
    nodes = [code(names[0], "def main(x):\n    return {'x': x}", {"x": "number"}, x=["start", "x"])]
    nodes += [end(name, x=[names[0], "x"]) for name in names[1:]]
    edges: list[tuple[str, ...]] = [("start", names[0]), *itertools.pairwise(names)]
    handle = await perdure.start(graph(nodes, edges), {"x": 1})
    async with asyncio.timeout(60):
        assert await handle.outputs() == {"x": 1}
