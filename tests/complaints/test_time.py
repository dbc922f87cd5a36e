"""Complaints about time: limits nobody set, two settings that disagree, a limit that does not hold."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from complaints.flows import ask, chain, counting_loop, graph

from fakes.graphs import code, end
from fakes.time_skipping import Skipping, skipping_or_skip
from perdure import CommandRefused, Graph

# One server, one clock: these tests cannot run side by side.
pytestmark = pytest.mark.xdist_group("time-skipping")

HOUR = 3600.0
DAY = 24 * HOUR
MARGIN = 60.0

Hours = dict[str, Any]


@pytest.fixture(scope="module")
async def days() -> AsyncIterator[Skipping]:
    """A server whose clock jumps, with a worker."""
    async with skipping_or_skip() as running:
        yield running


def double(node_id: str, x: list[str]) -> Any:
    return code(node_id, "def main(x):\n    return {'r': 2 * x}", {"r": "number"}, x=x)


def long_day() -> Graph:
    """A loop with an hour between two rounds for 24 hours, then a wait of up to three days, then one step more."""
    hourly = code("hourly", "def main():\n    raise ValueError('not yet')", {"r": "number"}, "lo")
    retried = {"retry_enabled": True, "max_retries": 1, "retry_interval": int(HOUR * 1000)}
    data = {**hourly.data, "retry_config": retried, "error_strategy": "default-value"}
    data["default_value"] = [{"key": "r", "type": "number", "value": 0}]
    inside = [("los", "hourly"), ("hourly", "keep")]
    nodes = counting_loop(24, [hourly.model_copy(update={"data": data})], inside)
    return graph(
        [*nodes, ask("ask", timeout=3), double("last", ["lo", "count"]), end(n=["last", "r"]), end("late")],
        [("start", "lo"), ("lo", "ask"), ("ask", "go", "last"), ("ask", "__timeout", "late"), ("last", "end"), *inside],
    )


async def test_complaint_08_a_run_of_24_hours_with_a_wait_of_three_days_passes(days: Skipping) -> None:
    """Runs were cut off after 600 or 1200 seconds that nobody had set."""
    begun = await days.now()
    handle = await days.start(long_day())
    await days.skip(hours=25)
    assert (await days.still(handle)).forms
    await days.skip(hours=70)
    assert (await handle.status()).status == "paused"
    await handle.submit("ask", "go")
    assert await handle.outputs() == {"n": 48}
    assert await days.now() - begun > DAY + 70 * HOUR
    assert (await handle.result()).elapsed > DAY + 70 * HOUR


@pytest.mark.parametrize("hours", [2, 96])
async def test_complaint_08_the_deadline_of_a_run_ends_it_on_time_whatever_it_does(days: Skipping, hours: int) -> None:
    """There were two limits, they disagreed, and runs passed both of them. Here is one field, and it holds."""
    handle = await days.start(long_day(), options={"deadline_s": hours * HOUR})
    if hours > 24:  # it is in the form by then, not in the loop
        await days.skip(hours=25)
        assert (await days.still(handle)).forms
    result = await handle.result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert f"deadline of {hours * HOUR:g} s" in result.error.message
    assert ("form 'ask'" if hours > 24 else "'lo[") in result.error.message, "it says what it was waiting for"
    assert hours * HOUR <= result.elapsed < hours * HOUR + MARGIN


@pytest.mark.parametrize(
    ("run_s", "node_s", "said"),
    [(None, 5 * HOUR, "node 'ask'"), (9 * HOUR, 5 * HOUR, "node 'ask'"), (5 * HOUR, 9 * HOUR, "the run took longer")],
)
async def test_complaint_08_of_two_deadlines_the_nearer_one_counts_and_is_named(
    days: Skipping, run_s: float | None, node_s: float, said: str
) -> None:
    """That of a node and that of the run do not fight: whichever comes first ends what it belongs to."""
    flow = chain(ask("ask", timeout=3), note=["ask", "note"])
    options = {"deadline_s": run_s, "nodes": {"ask": {"deadline_s": node_s}}}
    result = await (await days.start(flow, options=options)).result()
    assert result.error is not None
    assert (result.status, result.error.type) == ("failed", "DeadlineExceeded")
    assert said in result.error.message
    assert 5 * HOUR <= result.elapsed < 5 * HOUR + MARGIN


async def test_complaint_10_a_form_that_nobody_answers_takes_its_own_way_once(days: Skipping) -> None:
    """The third outcome of a form: no answer in time. An answer that comes too late is refused."""
    flow = graph(
        [
            ask("ask", "approve", "reject"),
            end(note=["ask", "note"]),
            ask("again"),
            end("late", action=["ask", "__action_id"]),
        ],
        [
            ("start", "ask"),
            ("ask", "approve", "end"),
            ("ask", "reject", "end"),
            ("ask", "__timeout", "again"),
            ("again", "go", "late"),
        ],
    )
    handle = await days.start(flow)
    assert [form.key for form in (await days.still(handle)).forms] == ["ask"]
    await days.skip(hours=23)
    assert [form.key for form in (await days.still(handle)).forms] == ["ask"]
    await days.skip(hours=1.5)
    assert [form.key for form in (await days.still(handle)).forms] == ["again"]
    with pytest.raises(CommandRefused, match="'ask'"):
        await handle.submit("ask", "approve")
    await handle.submit("again", "go")
    result = await handle.result()
    assert (result.status, result.outputs) == ("succeeded", {"action": ""})
    [begun, *events] = [event async for event in handle.events()]
    [over] = [event for event in events if event.type == "human_input_form_timeout"]
    assert DAY <= (over.at - begun.at) / 1000 < DAY + MARGIN
    filled = [event.node_id for event in events if event.type == "human_input_form_filled"]
    assert filled == ["again"]
