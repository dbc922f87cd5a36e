"""Time limits of long runs: enforced when they are due, in whatever history the run is by then."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fakes.graphs import code, document, end, node, start
from fakes.time_skipping import Skipping
from perdure import Graph, RunHandle
from perdure_graph.graph import NodeSpec
from perdure_store.read import Store

# One server, one clock: these tests cannot run side by side.
pytestmark = pytest.mark.xdist_group("time-skipping")

HOUR = 3600.0
DAY = 24 * HOUR
MARGIN_S = 60.0
ADD = "def main(x):\n    return {'r': x + 1}"


def asks(node_id: str, days: int) -> NodeSpec:
    """A form with one button; it times out after so many days."""
    return node(
        node_id,
        "human-input",
        form_content="Go on?",
        inputs=[],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=days,
        timeout_unit="day",
    )


def one_form(days: int = 3) -> Graph:
    nodes = [start(x="number"), asks("ask", days), end(x=["start", "x"])]
    return Graph.from_document(document(nodes, [("start", "ask"), ("ask", "go", "end")]))


def side_by_side(slow: NodeSpec, handle: str) -> Graph:
    """A node that takes days, beside a form and the six code steps behind it that fill a history."""
    steps = [code("s0", ADD, {"r": "number"}, x=["start", "x"])]
    steps += [code(f"s{i}", ADD, {"r": "number"}, x=[f"s{i - 1}", "r"]) for i in range(1, 6)]
    nodes = [start(x="number"), slow, asks("quick", 30), *steps, end("fast", r=["s5", "r"]), end(x=["start", "x"])]
    edges: list[tuple[str, ...]] = [("start", slow.id), ("start", "quick"), ("quick", "go", "s0"), ("s5", "fast")]
    edges += [(f"s{i - 1}", f"s{i}") for i in range(1, 6)]
    return Graph.from_document(document(nodes, [*edges, (slow.id, handle, "end")]))


async def move(time: Skipping, handle: RunHandle, hours: float) -> int:
    """Let hours pass, then fill the history; gives the number of histories the run has had."""
    assert "quick" in [form.node_id for form in (await time.still(handle)).forms]
    await time.skip(hours=hours)
    await handle.submit("quick", "go")
    view = await time.still(handle)
    assert ("s5", "succeeded") in [(shown.node_id, shown.status) for shown in view.nodes]
    return len(await time.histories(handle))


async def moments(handle: RunHandle, node_id: str) -> dict[str, float]:
    """Seconds from the start of a run to the events of a node."""
    events = [event async for event in handle.events()]
    return {e.type: (e.at - events[0].at) / 1000 for e in events if getattr(e, "node_id", "") == node_id}


def close_to(seconds: float) -> Any:
    return pytest.approx(seconds, abs=MARGIN_S)


@pytest.mark.parametrize("paused", [False, True])
async def test_complaint_8_the_deadline_of_a_run_is_enforced_while_it_waits_and_while_it_is_paused(
    time: Skipping, paused: bool
) -> None:
    handle = await time.start(one_form(), {"x": 1}, options={"deadline_s": 36 * HOUR})
    assert (await time.still(handle)).forms
    if paused:
        await handle.pause("not now")
    await time.skip(hours=35)
    assert (await handle.status()).status == "paused"
    result = await handle.result()
    assert (result.status, result.elapsed) == ("failed", close_to(36 * HOUR))
    assert result.error is not None and result.error.type == "DeadlineExceeded"
    assert "an answer to form 'ask'" in result.error.message


async def test_a_run_that_is_done_before_its_deadline_is_not_touched_by_it(time: Skipping) -> None:
    handle = await time.start(one_form(), {"x": 1}, options={"deadline_s": 60 * HOUR})
    assert (await time.still(handle)).forms
    await time.skip(hours=59)
    await handle.submit("ask", "go")
    assert await handle.outputs() == {"x": 1}


async def test_a_form_keeps_its_time_limit_when_its_run_moves_to_fresh_histories(time: Skipping) -> None:
    flow = side_by_side(asks("slow", 3), "__timeout")
    handle = await time.start(flow, {"x": 1}, options={"continue_after_events": 10})
    assert await move(time, handle, hours=40) >= 3
    assert await handle.outputs() == {"r": 7, "x": 1}
    assert (await moments(handle, "slow"))["human_input_form_timeout"] == close_to(3 * DAY)


async def test_retries_keep_their_hours_when_their_run_moves_to_fresh_histories(time: Skipping) -> None:
    retries = {"retry_enabled": True, "max_retries": 2, "retry_interval": int(50 * HOUR * 1000)}
    tool = {"provider_id": "p", "provider_type": "builtin", "provider_name": "p", "tool_name": "t", "tool_label": "t"}
    slow = node("slow", "tool", tool_configurations={}, tool_parameters={}, retry_config=retries, **tool)
    pins = {"slow": {"outputs": {"text": "done"}, "error": "not yet", "fail_times": 2}}
    flow = side_by_side(slow, "source")
    handle = await time.start(flow, {"x": 1}, pins=pins, options={"continue_after_events": 10})
    assert await move(time, handle, hours=40) >= 3
    assert await handle.outputs() == {"r": 7, "x": 1}
    events = [event async for event in handle.events() if getattr(event, "node_id", "") == "slow"]
    tries = [event.at / 1000 for event in events if event.type in ("node_retry", "node_finished")]
    assert [after - before for before, after in pairwise(tries)] == [close_to(50 * HOUR)] * 2


@pytest.mark.parametrize("whose", ["run", "node"])
async def test_deadlines_are_kept_when_a_run_moves_to_fresh_histories(time: Skipping, whose: str) -> None:
    limit = {"deadline_s": 60 * HOUR} if whose == "run" else {"nodes": {"slow": {"deadline_s": 60 * HOUR}}}
    flow = side_by_side(asks("slow", 20), "go")
    handle = await time.start(flow, {"x": 1}, options={"continue_after_events": 10, **limit})
    assert await move(time, handle, hours=40) >= 3
    result = await handle.result()
    assert (result.status, result.elapsed) == ("failed", close_to(60 * HOUR))
    assert result.error is not None and result.error.type == "DeadlineExceeded"
    assert result.error.node == ("slow" if whose == "node" else "")


def rounds(form: NodeSpec) -> Graph:
    """A loop of two rounds with a form in each; between them the code steps of `side_by_side` fill the history."""
    inside = {"isInLoop": True, "loop_id": "lo"}
    asked = NodeSpec(id=form.id, data={**form.data, **inside}, parent="lo")
    counted = {"variable_selector": ["lo", "n"], "input_type": "variable", "operation": "over-write"}
    nodes = [
        start(x="number"),
        node(
            "lo",
            "loop",
            start_node_id="los",
            loop_count=2,
            loop_variables=[{"label": "n", "var_type": "number", "value_type": "constant", "value": 0}],
            break_conditions=[],
            logical_operator="and",
        ),
        node("los", "loop-start", "lo", **inside),
        asked,
        *(code(f"s{i}", ADD, {"r": "number"}, "lo", x=["lo", "n"] if i == 0 else [f"s{i - 1}", "r"]) for i in range(5)),
        node("keep", "assigner", "lo", version="2", items=[{**counted, "value": ["s4", "r"]}], **inside),
        end(n=["lo", "n"]),
    ]
    steps = [(f"s{i - 1}", f"s{i}") for i in range(1, 5)]
    edges: list[tuple[str, ...]] = [("start", "lo"), ("lo", "end"), ("los", form.id), (form.id, "go", "s0"), *steps]
    return Graph.from_document(document(nodes, [*edges, (form.id, "__timeout", "s0"), ("s4", "keep")]))


async def test_rounds_of_a_loop_with_forms_of_90_days_cross_into_fresh_histories(time: Skipping) -> None:
    """The first form is answered after 60 days, the second times out: 150 days, in one loop."""
    options = {"continue_after_events": 10, "deadline_s": 200 * DAY}
    handle = await time.start(rounds(asks("ask", 90)), {"x": 1}, options=options)
    (first,) = (await time.still(handle)).forms
    await time.skip(days=60)
    await handle.submit(first.key, "go")
    (second,) = (await time.still(handle)).forms
    assert second.key != first.key
    assert len(await time.histories(handle)) >= 3
    result = await handle.result()
    assert (result.status, result.outputs, result.elapsed) == ("succeeded", {"n": 10}, close_to(150 * DAY))
    seqs = [event.seq async for event in handle.events()]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_deadline_of_five_months_ends_a_run_that_has_moved_often(time: Skipping) -> None:
    options = {"continue_after_events": 10, "deadline_s": 150 * DAY}
    handle = await time.start(rounds(asks("ask", 90)), {"x": 1}, options=options)
    (form,) = (await time.still(handle)).forms
    await time.skip(days=80)
    await handle.submit(form.key, "go")
    await time.still(handle)
    result = await handle.result()
    assert (result.status, result.elapsed) == ("failed", close_to(150 * DAY))
    assert result.error is not None and result.error.type == "DeadlineExceeded"


async def test_what_was_not_recorded_crosses_into_fresh_histories_and_is_recorded_later(
    time: Skipping, tmp_path: Path
) -> None:
    database = tmp_path / "away" / "runs.db"
    (tmp_path / "away").write_text("in the way of the folder")
    async with time.recording(f"sqlite:///{database}") as queue:
        handle = await time.start(rounds(asks("ask", 90)), {"x": 1}, queue=queue, options={"continue_after_events": 20})
        async with asyncio.timeout(60):
            while len(await time.histories(handle)) < 3:
                await asyncio.sleep(0.1)
        (tmp_path / "away").unlink()
        (tmp_path / "away").mkdir()
        (form,) = (await time.still(handle)).forms
        await handle.submit(form.key, "go")
        assert (await time.still(handle)).forms
        assert await handle.outputs() == {"n": 10}
        count = (await handle.status()).seq
    async with Store.open(f"sqlite:///{database}") as store:
        assert [stored.seq for stored in await store.events(handle.run_id, limit=1000)] == list(range(1, count + 1))
