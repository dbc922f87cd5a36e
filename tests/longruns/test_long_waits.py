"""Runs that take days and months: what they wait for is kept, and their limits are the ones they were given."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from fakes.graphs import code, document, end, node, start, template
from fakes.time_skipping import Skipping
from perdure import Graph

# One server, one clock: these tests cannot run side by side.
pytestmark = pytest.mark.xdist_group("time-skipping")

HOUR = 3600.0
DAY = 24 * HOUR
MARGIN = 60.0


def asks(node_id: str, timeout: int, unit: str = "day") -> Any:
    """A form with one button; it times out after so long."""
    return node(
        node_id,
        "human-input",
        form_content="Go on?",
        inputs=[{"type": "text_input", "output_variable_name": "note"}],
        user_actions=[{"id": "go", "title": "Go"}],
        timeout=timeout,
        timeout_unit=unit,
    )


def two_forms() -> Graph:
    """Start -> first (3 days) -> code -> second (3 days) -> end; a form that times out ends in its own end node."""
    return Graph.from_document(
        document(
            [
                start(x="number"),
                asks("first", 3),
                code("double", "def main(x):\n    return {'r': 2 * x}", {"r": "number"}, x=["start", "x"]),
                asks("second", 3),
                end(r=["double", "r"], note=["second", "note"]),
                end("late", late=["start", "x"]),
            ],
            [
                ("start", "first"),
                ("first", "go", "double"),
                ("first", "__timeout", "late"),
                ("double", "second"),
                ("second", "go", "end"),
                ("second", "__timeout", "late"),
            ],
        )
    )


async def test_complaint_8_a_run_of_four_days_with_three_day_forms_passes(time: Skipping) -> None:
    begun = await time.now()
    handle = await time.start(two_forms(), {"x": 4})
    assert (await time.still(handle)).forms
    await time.skip(hours=50)
    assert (await handle.submit("first", "go")).status != "failed"
    assert [form.node_id for form in (await time.still(handle)).forms] == ["second"]
    await time.skip(hours=50)
    await handle.submit("second", "go", {"note": "patience"})
    assert await handle.outputs() == {"r": 8, "note": "patience"}
    assert await time.now() - begun > 4 * DAY
    assert (await handle.result()).elapsed > 4 * DAY


async def test_complaint_8_a_form_ends_when_its_own_time_is_over_and_not_before(time: Skipping) -> None:
    handle = await time.start(two_forms(), {"x": 4})
    assert (await time.still(handle)).forms
    begun = await time.now()
    await time.skip(hours=71)
    view = await handle.status()
    assert [form.node_id for form in view.forms] == ["first"]
    assert await handle.outputs() == {"late": 4}
    assert 3 * DAY - MARGIN < await time.now() - begun < 3 * DAY + MARGIN
    events = [event async for event in handle.events()]
    (asked,) = [event for event in events if event.type == "human_input_required"]
    (expired,) = [event for event in events if event.type == "human_input_form_timeout"]
    assert asked.expires_at is not None and abs(expired.at - asked.expires_at) < MARGIN * 1000


async def test_a_form_that_waits_for_two_months_is_submitted(time: Skipping) -> None:
    flow = document(
        [start(x="number"), asks("ask", 90), end(note=["ask", "note"], x=["start", "x"])],
        [("start", "ask"), ("ask", "go", "end")],
    )
    handle = await time.start(Graph.from_document(flow), {"x": 1})
    assert (await time.still(handle)).forms
    await time.skip(days=60)
    assert (await handle.status()).status == "paused"
    await handle.submit("ask", "go", {"note": "at last"})
    assert await handle.outputs() == {"note": "at last", "x": 1}
    assert (await handle.result()).elapsed > 60 * DAY


async def test_retries_hours_apart_come_when_they_are_due(time: Skipping) -> None:
    hours = [6, 6, 6]
    flow = document(
        [
            start(),
            node(
                "flaky",
                "tool",
                provider_id="p",
                provider_type="builtin",
                provider_name="p",
                tool_name="t",
                tool_label="t",
                tool_configurations={},
                tool_parameters={},
                retry_config={"retry_enabled": True, "max_retries": 3, "retry_interval": int(6 * HOUR * 1000)},
            ),
            end(out=["flaky", "text"]),
        ],
        [("start", "flaky"), ("flaky", "end")],
    )
    pins = {"flaky": {"outputs": {"text": "done"}, "error": "not yet", "fail_times": len(hours)}}
    handle = await time.start(Graph.from_document(flow), pins=pins)
    assert await handle.outputs() == {"out": "done"}
    events = [event async for event in handle.events()]
    tries = [
        event.at / 1000
        for event in events
        if event.type in ("node_retry", "node_finished") and event.node_id == "flaky"
    ]
    assert [round((after - before) / HOUR, 1) for before, after in pairwise(tries)] == hours


async def test_a_pause_of_a_month_resumes_where_it_was(time: Skipping) -> None:
    flow = document(
        [
            start(x="number"),
            asks("ask", 90),
            code("next", "def main(x):\n    return {'r': x + 1}", {"r": "number"}, x=["start", "x"]),
            template("text", "{{ r }}", r=["next", "r"]),
            end(out=["text", "output"]),
        ],
        [("start", "ask"), ("ask", "go", "next"), ("next", "text"), ("text", "end")],
    )
    handle = await time.start(Graph.from_document(flow), {"x": 41})
    assert (await time.still(handle)).forms
    await handle.pause("holidays")
    await handle.submit("ask", "go")
    await time.skip(days=30)
    view = await handle.status()
    assert view.status == "paused"
    assert "next" not in [shown.node_id for shown in view.nodes]
    await handle.resume()
    assert await handle.outputs() == {"out": "42"}
    assert (await handle.result()).elapsed > 30 * DAY
