"""Laws of graphs, on random ones."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.driver import Driver
from fakes.graphs import code, dags, iteration
from perdure_graph.commands import Begin, Pause, Resume, Stop
from perdure_graph.events import ContainerCompleted, NodeFinished, NodeStarted
from perdure_graph.graph import Document, Graph
from perdure_graph.request import Pin, RunOptions, RunRequest
from perdure_graph.state import RunState
from perdure_graph.view import result

FAILS = Pin(error="boom", error_type="BoomError")


def _request(document: Document, n: int, failing: set[str], **more: Any) -> RunRequest:
    pins = {spec.id: FAILS if spec.id in failing else Pin() for spec in document.nodes if spec.data["type"] == "tool"}
    return RunRequest(graph=document, inputs={"n": n}, pins=pins, **more)


@st.composite
def runs(draw: st.DrawFn) -> tuple[Graph, RunRequest]:
    """A random graph, its input and which of its tools fail."""
    document = draw(dags())
    tools = [spec.id for spec in document.nodes if spec.data["type"] == "tool"]
    failing = draw(st.sets(st.sampled_from(tools))) if tools else set[str]()
    return Graph.from_document(document), _request(document, draw(st.integers(0, 9)), failing)


def _started(state: RunState) -> Counter[str]:
    return Counter(e.node_id for e in state.events if isinstance(e, NodeStarted))


def _finished(state: RunState) -> set[tuple[str, str]]:
    return {(e.node_id, e.status) for e in state.events if isinstance(e, NodeFinished | ContainerCompleted)}


@given(runs(), st.randoms(use_true_random=False))
def test_each_node_runs_at_most_once_and_no_reachable_node_is_left(run: tuple[Graph, RunRequest], random: Any) -> None:
    graph, request = run
    state = Driver(graph, request, pick=lambda n: random.randrange(n)).run()
    assert state.status in ("succeeded", "partial-succeeded")
    assert max(_started(state).values()) == 1
    statuses = {node_id: node.status for node_id, node in state.root.nodes.items()}
    assert set(statuses) == graph.reachable(graph.root)
    assert set(statuses.values()) <= {"succeeded", "exception", "skipped"}


@given(runs())
def test_a_node_runs_exactly_when_some_edge_into_it_is_taken(run: tuple[Graph, RunRequest]) -> None:
    graph, request = run
    state = Driver(graph, request).run()
    handles = {e.node_id: e.handle for e in state.events if isinstance(e, NodeFinished)}
    taken = {
        edge.target
        for node_id, handle in handles.items()
        for edge in graph.out[node_id]
        if handle is None or edge.handle == handle
    }
    assert set(handles) == taken | {graph.root}


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_replies_changes_neither_nodes_nor_status(run: tuple[Graph, RunRequest], random: Any) -> None:
    graph, request = run
    first = Driver(graph, request).run()
    other = Driver(graph, request, pick=lambda n: random.randrange(n)).run()
    assert _finished(first) == _finished(other)
    assert (first.status, first.exceptions_count) == (other.status, other.exceptions_count)


@given(runs(), st.integers(1, 3))
def test_state_survives_a_json_round_trip_at_every_step(run: tuple[Graph, RunRequest], parallel: int) -> None:
    graph, request = run
    request = request.model_copy(update={"options": RunOptions(max_parallel=parallel)})
    plain = Driver(graph, request).run()
    tripped = Driver(graph, request, round_trip=True).run()
    assert plain.model_dump_json(exclude={"stream"}) == tripped.model_dump_json(exclude={"stream"})


@given(runs(), st.integers(0, 20))
def test_a_pause_at_any_moment_starts_nothing_and_changes_no_outcome(run: tuple[Graph, RunRequest], after: int) -> None:
    graph, request = run
    undisturbed = Driver(graph, request).run()
    driver = Driver(graph, request)
    driver.send(Begin())
    for _ in range(after):
        if not driver.tick():
            break
    if driver.state.ended:
        return
    driver.send(Pause(reason="look"))
    calls = len(driver.calls)
    while driver.tick():
        pass
    assert len(driver.calls) == calls
    if not driver.state.ended:  # what was in flight may have been the last of it
        assert driver.state.status == "paused"
        driver.send(Resume())
    while driver.tick():
        pass
    assert _finished(driver.state) == _finished(undisturbed)
    assert result(driver.state).outputs == result(undisturbed).outputs


@given(runs(), st.integers(0, 20))
def test_after_stop_nothing_starts(run: tuple[Graph, RunRequest], after: int) -> None:
    graph, request = run
    driver = Driver(graph, request)
    driver.send(Begin())
    for _ in range(after):
        driver.tick()
    if driver.state.ended:
        return
    driver.send(Stop(reason="enough"))
    assert driver.state.status == "stopped"
    assert not driver.pending
    assert [e.seq for e in driver.state.events] == list(range(1, driver.state.seq + 1))


HALVES = "def main(x, i):\n    if x % 3 == 0: raise ValueError('three')\n    return {'r': x * 10 + i}"


@pytest.mark.parametrize("mode", ["continue-on-error", "remove-abnormal-output", "terminated"])
@given(st.lists(st.integers(0, 20), max_size=8), st.integers(1, 5), st.randoms(use_true_random=False))
def test_sequential_and_parallel_iterations_give_equal_outputs(
    mode: str, items: list[int], width: int, random: Any
) -> None:
    outcomes: list[tuple[str, dict[str, Any]]] = []
    for parallel in (False, True):
        inner = [code("k", HALVES, {"r": "number"}, "it", x=["it", "item"], i=["it", "index"])]
        document = iteration(
            ["start", "items", "l"],
            inner,
            [("its", "k")],
            ["k", "r"],
            is_parallel=parallel,
            parallel_nums=width,
            error_handle_mode=mode,
        )
        request = RunRequest(graph=document, inputs={"items": {"l": items}})
        state = Driver(Graph.from_document(document), request, pick=lambda n: random.randrange(n)).run()
        outcomes.append((state.status, result(state).outputs))
    assert outcomes[0] == outcomes[1]
