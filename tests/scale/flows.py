"""What the tests of scale share: flows over the plug-in activity, and a look at all histories of a run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import pairwise

from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client as TemporalClient
from temporalio.client import WorkflowExecutionStatus

from fakes.graphs import document, end, iteration, node, start
from fakes.http_server import HttpServer
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


def two_iterations(parallel: int) -> Graph:
    """Two such iterations side by side; they give `a` and `b`."""
    nodes = [start(items="json_object"), end(a=["ia", "output"], b=["ib", "output"])]
    edges: list[tuple[str, ...]] = []
    for name in ("a", "b"):
        inside = f"i{name}"
        nodes += [
            node(
                inside,
                "iteration",
                start_node_id=f"s{name}",
                iterator_selector=["start", "items", "l"],
                output_selector=[f"c{name}", "text"],
                is_parallel=parallel > 1,
                parallel_nums=parallel,
            ),
            node(f"s{name}", "iteration-start", inside, isInIteration=True, iteration_id=inside),
            node(f"c{name}", "bench-noop", inside, text=f"{{{{#{inside}.item#}}}}"),
        ]
        edges += [("start", inside), (inside, "end"), (f"s{name}", f"c{name}")]
    return Graph.from_document(document(nodes, edges))


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


def asks(url: str) -> Graph:
    """A run that sends one HTTP request and gives what came back."""
    auth = {"type": "no-auth", "config": None}
    get = node(
        "get", "http-request", method="get", url=url, headers="", params="", authorization=auth, body={"type": "none"}
    )
    return Graph.from_document(document([start(), get, end(said=["get", "body"])], [("start", "get"), ("get", "end")]))


def asked(target: HttpServer, path: str) -> int:
    """How many requests for a path have arrived."""
    return sum(request.target == path for request in target.requests)


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


def at_once(found: list[History]) -> int:
    """The most effects of a kind of the plug-in that were asked for and not answered at one moment, in all histories.

    All times are those of one server.
    """
    changes: list[tuple[int, int]] = []
    for history in found:
        asked: dict[int, int] = {}
        for event in history.events:
            if event.activity_task_scheduled_event_attributes.activity_type.name == "bench_noop":
                asked[event.event_id] = event.event_time.ToNanoseconds()
            elif event.HasField("activity_task_completed_event_attributes"):
                # Recording takes activities too; those are not counted.
                at = asked.pop(event.activity_task_completed_event_attributes.scheduled_event_id, None)
                changes += [] if at is None else [(at, 1), (event.event_time.ToNanoseconds(), -1)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most


def _opens_window(event: HistoryEvent) -> bool:
    asked = event.start_child_workflow_execution_initiated_event_attributes
    return asked.workflow_type.name == "IterationWindow"
