"""What the tests of scale share: flows over the plug-in activity, and a look at all histories of a run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from fakes.graphs import document, end, iteration, node, start
from perdure import Graph


def each_item(parallel: int) -> Graph:
    """An iteration over `start.items["l"]` with one activity per item; it gives the items back as texts."""
    inner = [node("call", "bench-noop", "it", text="{{#it.item#}}")]
    return Graph.from_document(
        iteration(
            ["start", "items", "l"],
            inner,
            [("its", "call")],
            ["call", "text"],
            is_parallel=parallel > 1,
            parallel_nums=parallel,
        )
    )


def chain(length: int) -> Graph:
    """start -> n0 -> n1 -> ... -> end; each node passes on the text of the one before it."""
    names = [f"n{index}" for index in range(length)]
    nodes = [node(name, "bench-noop", text=f"{{{{#{source}.text#}}}}") for source, name in pairwise(["start", *names])]
    return Graph.from_document(
        document(
            [start(text="paragraph"), *nodes, end(text=[names[-1], "text"])],
            [*pairwise(["start", *names, "end"])],
        )
    )


@dataclass(frozen=True)
class History:
    """One history of a run or of one of its windows."""

    workflow_id: str
    kind: str
    size: int
    events: list[HistoryEvent]


async def histories(client: TemporalClient, run_id: str) -> list[History]:
    """All histories of a run that has ended and of its windows, those of earlier runs of a chain too."""
    query = f"WorkflowId STARTS_WITH '{run_id}' AND WorkflowType IN ('GraphRun', 'IterationWindow')"
    root = await client.get_workflow_handle(run_id).fetch_history()
    least = 1 + sum(_opens_window(event) for event in root.events)
    async with asyncio.timeout(30):
        while True:
            listed = [each async for each in client.list_workflows(query)]
            # The list is filled some time after the fact.
            if len(listed) >= least and all(each.status is not WorkflowExecutionStatus.RUNNING for each in listed):
                break
            await asyncio.sleep(0.1)
    found: list[History] = []
    for each in listed:
        history = await client.get_workflow_handle(each.id, run_id=each.run_id).fetch_history()
        size = each.raw_info.history_size_bytes
        found.append(History(each.id, each.workflow_type, size, list(history.events)))
    return found


def _opens_window(event: HistoryEvent) -> bool:
    asked = event.start_child_workflow_execution_initiated_event_attributes
    return asked.workflow_type.name == "IterationWindow"
