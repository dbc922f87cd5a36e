"""Complaints about joins: one that runs twice, one that never runs, one that a skipped branch blocks.

What must happen is said here a second time, by a walk over the drawing that knows nothing of the engine.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

from complaints.flows import Target, call, events_of
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.driver import Driver, perform
from fakes.graphs import code, document, end, node, start, template
from perdure import Client, Graph
from perdure_graph.effects import Effect, HttpReply, Reply, SendHttp
from perdure_graph.graph import Document
from perdure_graph.request import RunRequest

SEEDS = range(10)


def drawing(seed: int, url: str) -> tuple[Document, dict[str, str]]:
    """A random DAG of calls, branches, steps that fail into a branch of their own, and templates; all joins count.

    Gives also the handle by which each branching node is left.
    """
    random = Random(seed)
    nodes: list[Any] = [start(x="number")]
    edges: list[tuple[str, ...]] = []
    left_by: dict[str, str] = {}
    handles: dict[str, list[str]] = {"start": ["source"]}
    for number in range(random.randint(6, 14)):
        name = f"n{number}"
        kind = random.choice(["call", "call", "if", "fails", "template"])
        if kind == "call":
            nodes.append(call(name, f"{url}{name}"))
        elif kind == "template":
            nodes.append(template(name, "{{ x }}", x=["start", "x"]))
        elif kind == "if":
            limit = random.randint(0, 9)
            condition = {"variable_selector": ["start", "x"], "comparison_operator": ">", "value": str(limit)}
            case = {"case_id": "yes", "logical_operator": "and", "conditions": [condition]}
            nodes.append(node(name, "if-else", cases=[case]))
            left_by[name] = "yes" if limit < 5 else "false"
        else:
            fails = random.random() < 0.5
            body = "def main():\n    raise ValueError" if fails else "def main():\n    return {'r': 1}"
            plain = code(name, body, {"r": "number"})
            nodes.append(plain.model_copy(update={"data": {**plain.data, "error_strategy": "fail-branch"}}))
            left_by[name] = "fail-branch" if fails else "source"
        for source in random.sample(sorted(handles), min(len(handles), random.randint(1, 3))):
            edges += [(source, handle, name) for handle in handles[source] if random.random() < 0.7]
        if not any(edge[-1] == name for edge in edges):
            edges.append((source, handles[source][0], name))
        handles[name] = {"if": ["yes", "false"], "fails": ["source", "fail-branch"]}.get(kind, ["source"])
    nodes += [call("join", f"{url}join"), end(ok=["join", "status_code"])]
    edges += [(name, handle, "join") for name, known in handles.items() for handle in known]
    edges.append(("join", "end"))
    return document(nodes, edges), left_by


def must_run(flow: Document, left_by: dict[str, str]) -> set[str]:
    """The nodes that run: those with an edge into them from one that runs, by the handle by which it is left."""
    found = {"start"}
    for spec in flow.nodes:  # drawn in topological order
        for edge in flow.edges:
            if edge.target == spec.id and edge.source in found and left_by.get(edge.source, edge.handle) == edge.handle:
                found.add(spec.id)
    return found


async def test_complaint_22_a_join_runs_exactly_once_and_no_node_twice(perdure: Client, target: Target) -> None:
    """A node behind two branches ran twice, or never."""

    async def one(seed: int) -> None:
        flow, left_by = drawing(seed, target.url(f"/hit?of=seed{seed}."))
        handle = await perdure.start(Graph.from_document(flow), {"x": 5})
        assert await handle.outputs() == {"ok": 200}
        calls = {spec.id for spec in flow.nodes if spec.data["type"] == "http-request"}
        expected = must_run(flow, left_by) & calls
        assert "join" in expected
        assert target.hits(f"seed{seed}.") == {f"seed{seed}.{name}": 1 for name in expected}

    await asyncio.gather(*(one(seed) for seed in SEEDS))


async def test_complaint_23_a_skipped_branch_blocks_nothing_and_is_told_apart(perdure: Client, target: Target) -> None:
    """A join waited for a branch that was skipped, and the run ended in silence as if it had succeeded."""

    async def one(seed: int) -> None:
        flow, left_by = drawing(seed, target.url(f"/hit?of=told{seed}."))
        graph = Graph.from_document(flow)
        handle = await perdure.start(graph, {"x": 5})
        await handle.result()
        run = must_run(flow, left_by)
        view = await handle.status()
        assert view.status in ("succeeded", "partial-succeeded")
        assert {shown.node_id for shown in view.nodes if shown.status in ("succeeded", "exception")} == run
        skipped = {shown.node_id for shown in view.nodes if shown.status == "skipped"}
        assert skipped == graph.reachable(graph.root) - run, "whatever did not run was skipped for a reason"
        finished = Counter(event.node_id for event in await events_of(handle) if event.type == "node_finished")
        assert finished == dict.fromkeys(run, 1)

    await asyncio.gather(*(one(seed) for seed in SEEDS))


def answer(effect: Effect) -> Reply:
    if isinstance(effect, SendHttp):
        return HttpReply(status_code=200, body="ok", headers={})
    return perform(effect)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_complaint_22_and_23_hold_for_any_drawing_and_any_order_of_answers(seed: int, random: Any) -> None:
    """The same rule as a property; whoever answers first changes nothing of it."""
    flow, left_by = drawing(seed, "http://target/")
    graph = Graph.from_document(flow)
    request = RunRequest(graph=flow, inputs={"x": 5})
    driver = Driver(graph, request, pick=lambda n: random.randrange(n), performer=answer, round_trip=True)
    state = driver.run()
    assert state.status in ("succeeded", "partial-succeeded")
    finished = Counter(event.node_id for event in state.events if event.type == "node_finished")
    assert finished == dict.fromkeys(must_run(flow, left_by), 1)
    assert {name for name, run in state.root.nodes.items() if run.status == "skipped"} == graph.reachable(
        graph.root
    ) - set(finished)
