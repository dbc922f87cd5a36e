"""Logs of real runs in memory, as (scope, event) in the order in which they happened; and all rows of a store."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from fakes.driver import Driver
from fakes.graphs import document, end, iteration, node, start
from fakes.moments import RETRIES, Adds, ask, worker
from perdure_graph.commands import OpenWindow, Retry, Stop, Submit
from perdure_graph.effects import EffectMeta
from perdure_graph.graph import Document, Graph
from perdure_graph.outbox import as_recorded
from perdure_graph.request import RunOptions, RunRequest
from perdure_store.tables import METADATA

Log = list[tuple[str, dict[str, Any]]]

FLOW = "graph"


class Logged(Driver):
    """A run that remembers its windows."""

    def __init__(self, flow: Document, performer: Any, **options: Any) -> None:
        self.children: list[Driver] = []
        inputs: dict[str, Any] = {"n": 1, "items": {"l": [1, 2, 3, 4, 5]}}
        request = RunRequest(graph=flow, inputs=inputs, user="ann", tenant="acme", options=RunOptions(**options))
        super().__init__(Graph.from_document(flow), request, performer=performer)

    def window(self, asked: OpenWindow) -> Driver:
        child = super().window(asked)
        self.children.append(child)
        return child

    @property
    def log(self) -> Log:
        found = [
            (run.state.scope, as_recorded(event)[0]) for run in (*self.children, self) for event in run.state.events
        ]
        return sorted(found, key=lambda entry: (entry[1]["at"], entry[0], entry[1]["seq"]))


def windows() -> Log:
    """An iteration in windows: retries, a failure that its strategy handles, two items at once."""
    strategy = {"error_strategy": "default-value", "default_value": [{"key": "r", "type": "number", "value": "0"}]}
    inner = worker("k", ["it", "item"], "it", retry_config=RETRIES, **strategy)
    flow = iteration(["start", "items", "l"], [inner], [("its", "k")], ["k", "r"], is_parallel=True, parallel_nums=2)
    run = Logged(flow, Adds(4), window_items=2)
    assert run.run().status == "partial-succeeded"
    assert len(run.children) == 3
    return run.log


def attended() -> Log:
    """A form that is answered, a node held twice and retried, a loop; stopped while forms are open in an iteration."""
    hidden = node("ls", "loop-start", "loop", loop_id="loop", isInLoop=True)
    inside = worker("inside", ["start", "n"], "loop", loop_id="loop", isInLoop=True)
    flow = document(
        [
            start(n="number", items="json_object"),
            ask("first"),
            worker("k", ["start", "n"]),
            node("loop", "loop", start_node_id="ls", loop_count=2, loop_variables=[], break_conditions=[]),
            hidden,
            inside,
            node(
                "it",
                "iteration",
                start_node_id="its",
                iterator_selector=["start", "items", "l"],
                output_selector=["ask", "__action_id"],
                is_parallel=True,
                parallel_nums=3,
            ),
            node("its", "iteration-start", "it", isInIteration=True, iteration_id="it"),
            ask("ask", "it"),
            end(out=["k", "r"]),
        ],
        [
            ("start", "first"),
            ("first", "go", "k"),
            ("k", "loop"),
            ("ls", "inside"),
            ("loop", "it"),
            ("its", "ask"),
            ("it", "end"),
        ],
    )
    run = Logged(flow, Adds(2), on_failure="wait")
    run.run()
    run.send(Submit(form="first", action="go"))
    for _ in range(2):
        while run.tick():
            pass
        run.send(Retry(node="k"))
    while run.tick():
        pass
    run.now += 1
    run.send(Submit(form="it[1].ask", action="go"))
    run.now += 1
    run.send(Stop())
    return run.log


def meta(run_id: str, scope: str, events: list[dict[str, Any]]) -> EffectMeta:
    """What carries events of a scope to the recorder."""
    key = f"{run_id}/{scope}"
    return EffectMeta(
        run_id=run_id,
        scope=scope,
        key=key,
        idempotency_key=key,
        flow=FLOW,
        tenant="acme",
        events=tuple(events),
    )


async def rows(engine: AsyncEngine, run_id: str) -> dict[str, list[dict[str, Any]]]:
    """Give all rows of a run by table, without its id and without positions, in a fixed order."""
    found: dict[str, list[dict[str, Any]]] = {}
    async with engine.connect() as connection:
        for name, table in METADATA.tables.items():
            if name != "runs" and "run_id" not in table.c:
                continue
            column = table.c.id if name == "runs" else table.c.run_id
            fetched = (await connection.execute(select(table).where(column == run_id))).mappings()
            found[name] = sorted(
                ({k: v for k, v in row.items() if k not in ("id", "run_id", "position")} for row in fetched), key=repr
            )
    return found
