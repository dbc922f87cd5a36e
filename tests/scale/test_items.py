"""Large iterations: complete, in order, as wide as they were told, in histories of bounded length.

`make scale` runs 10,000 items and says how fast; here are only the properties that do not depend on the machine.
"""

from __future__ import annotations

import pytest
from scale.flows import History, at_once, each_item, histories

from perdure import Client, RunOptions
from perdure_worker.embedded import EmbeddedStack

WINDOW = 50
MOST_EVENTS = 10_000


def windows_at_once(root: History) -> int:
    """The most windows that were open at one moment of a run."""
    at_once = most = 0
    for event in root.events:
        asked = event.start_child_workflow_execution_initiated_event_attributes
        if asked.workflow_type.name == "IterationWindow":
            at_once += 1
        elif event.HasField("child_workflow_execution_completed_event_attributes"):
            at_once -= 1
        most = max(most, at_once)
    return most


async def test_complaint_19_five_hundred_items_complete_in_bounded_histories(
    perdure: Client, stack: EmbeddedStack
) -> None:
    """More than 100 items failed: "thread pool full"."""
    items = [f"item {index}" for index in range(500)]
    options = RunOptions(window_items=WINDOW)
    handle = await perdure.start(each_item(16), {"items": {"l": items}}, options=options)
    assert await handle.outputs() == {"out": items}
    found = await histories(stack.client, handle.run_id)
    assert sum(each.kind == "IterationWindow" for each in found) == len(items) // WINDOW
    lengths = [len(each.events) for each in found]
    assert max(lengths) < MOST_EVENTS
    # Nine events per item at the very most, and the run itself pays per window, not per item.
    assert all(len(each.events) < 9 * WINDOW for each in found if each.kind == "IterationWindow")
    assert sum(len(each.events) for each in found if each.kind == "GraphRun") < len(items)


@pytest.mark.parametrize(("parallel", "windows", "width"), [(1, 1, 1), (4, 4, 1), (16, 8, 2)])
async def test_complaint_20_and_21_parallelism_changes_the_width_and_not_the_result(
    perdure: Client, stack: EmbeddedStack, parallel: int, windows: int, width: int
) -> None:
    """Raising parallelism changed nothing (20); parallel mode returned [null] (21)."""
    items = [f"item {index}" for index in range(160)]
    options = RunOptions(window_items=20)
    handle = await perdure.start(each_item(parallel), {"items": {"l": items}}, options=options)
    assert await handle.outputs() == {"out": items}
    found = await histories(stack.client, handle.run_id)
    (root,) = (each for each in found if each.kind == "GraphRun")
    assert windows_at_once(root) == windows
    assert {at_once([each]) for each in found if each.kind == "IterationWindow"} == {width}
