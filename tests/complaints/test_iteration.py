"""Complaints about iterations: slow ones, and those that lose results when they run in parallel.

Complaint 19 (10,000 items) is in tests/scale.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from complaints.flows import Target, call, reached
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.driver import Driver
from fakes.graphs import code, iteration
from perdure import Client, Graph, RunOptions
from perdure_graph.effects import CodeResult, Effect, Reply, RunCode
from perdure_graph.request import RunRequest
from perdure_graph.view import result

ITEMS = 16
STEP_S = 0.25
OVERHEAD_S = 0.2


def items_of(*inner: Any, output: list[str], parallel: int, **data: Any) -> Graph:
    return Graph.from_document(
        iteration(
            ["start", "items", "l"],
            list(inner),
            [("its", inner[0].id)],
            output,
            is_parallel=parallel > 1,
            parallel_nums=parallel,
            **data,
        )
    )


@pytest.mark.parametrize("parallel", [1, 4, 16])
async def test_complaint_20_an_iteration_is_as_wide_as_it_was_told(
    perdure: Client, target: Target, parallel: int
) -> None:
    """So many items are at work at once, no more and no less; each call is held until they are all there."""
    url = target.url("/hold?of=") + "{{#it.index#}}"
    flow = items_of(call("each", url, "it"), output=["each", "body"], parallel=parallel)
    handle = await perdure.start(flow, {"items": {"l": list(range(ITEMS))}})
    await reached(lambda: target.busy == parallel)
    target.release.set()
    assert await handle.outputs() == {"out": ["ok"] * ITEMS}
    assert target.peak == parallel
    assert target.hits() == {str(number): 1 for number in range(ITEMS)}


async def test_complaint_20_an_iteration_is_as_fast_as_its_nodes(perdure: Client, target: Target) -> None:
    """An iteration took many times what its nodes took, and more parallelism changed nothing."""
    took: dict[int, float] = {}
    for parallel in (1, 4, 16):
        url = target.url(f"/slow?s={STEP_S}&of={parallel}.") + "{{#it.index#}}"
        flow = items_of(call("each", url, "it"), output=["each", "body"], parallel=parallel)
        begun = time.monotonic()
        handle = await perdure.start(flow, {"items": {"l": list(range(ITEMS))}})
        assert await handle.outputs() == {"out": ["ok"] * ITEMS}
        took[parallel] = time.monotonic() - begun
        assert target.hits(f"{parallel}.") == {f"{parallel}.{number}": 1 for number in range(ITEMS)}
    overhead = (took[1] - ITEMS * STEP_S) / ITEMS
    assert overhead < OVERHEAD_S, f"{overhead * 1000:.0f} ms per item beyond the node itself"
    assert took[4] < 0.6 * took[1], took
    assert took[16] < 0.6 * took[4] + 0.5, took


@pytest.mark.parametrize("window_items", [50, 4])
async def test_complaint_21_in_parallel_the_results_are_those_of_one_after_the_other(
    perdure: Client, target: Target, window_items: int
) -> None:
    """In parallel mode the output was [null]."""
    outputs: list[Any] = []
    for parallel in (1, 8):
        # The first items answer last.
        url = target.url("/slow?s=") + "{{#it.item#}}&of={{#it.index#}}&say=said-{{#it.index#}}"
        flow = items_of(call("each", url, "it"), output=["each", "body"], parallel=parallel)
        items = [round((11 - number) * 0.03 * (parallel > 1), 2) for number in range(12)]
        handle = await perdure.start(flow, {"items": {"l": items}}, options=RunOptions(window_items=window_items))
        outputs.append((await handle.outputs())["out"])
    assert outputs[0] == [f"said-{number}" for number in range(12)]
    assert outputs[1] == outputs[0]


TEXT = st.text("aö \n{", max_size=3)
INTEGERS = st.integers(-9, 9)
# Code refuses arrays of mixed items, as in Dify.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | TEXT
    | st.lists(st.integers(-9, 9), max_size=3)
    | st.lists(TEXT, max_size=3),
    lambda inner: st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def echo(effect: Effect) -> Reply:
    assert isinstance(effect, RunCode)
    return CodeResult(result={"r": effect.inputs["x"]}, engine="monty")


@settings(max_examples=40, deadline=None)
@given(
    st.lists(VALUES, max_size=9),
    st.integers(2, 9),
    st.sampled_from([2, 3, 50]),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_complaint_21_whatever_the_items_are_and_whoever_comes_first(
    values: list[Any], parallel: int, window_items: int, flatten: bool, random: Any
) -> None:
    """A property: equal outputs in order, for any JSON, any width, any window and any order of replies."""
    inner = code("k", "def main(x): ...", {"r": "object"}, "it", x=["it", "item"])
    inputs = {"items": {"l": [{"v": value} for value in values]}}
    outputs: list[Any] = []
    for width in (1, parallel):
        flow = items_of(inner, output=["k", "r"], parallel=width, flatten_output=flatten)
        request = RunRequest(graph=flow.document, inputs=inputs, options=RunOptions(window_items=window_items))
        pick = (lambda n: random.randrange(n)) if width > 1 else (lambda n: 0)
        state = Driver(flow, request, pick=pick, performer=echo, round_trip=True).run()
        assert state.status == "succeeded"
        outputs.append(result(state).outputs["out"])
    assert outputs[1] == outputs[0] == inputs["items"]["l"]
