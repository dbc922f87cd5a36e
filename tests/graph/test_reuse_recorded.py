"""What the events of a run tell of it is what the run itself would, as far as a fork needs it."""

from __future__ import annotations

from typing import Any

import pytest
from graph.reusing import counting, fork, speaking, template
from hypothesis import given, settings

from fakes.driver import Driver
from fakes.graphs import code, document, end, iteration, start
from perdure_graph.errors import InvalidInputs, PlatformError
from perdure_graph.events import EVENTS, Event
from perdure_graph.fork_plan import split
from perdure_graph.graph import Graph
from perdure_graph.outbox import as_recorded
from perdure_graph.outcomes import Outcomes, outcomes
from perdure_graph.recorded import recorded
from perdure_graph.request import RunRequest
from perdure_graph.state import RunState
from perdure_graph.values import ValueType


def stored(state: RunState) -> list[Event]:
    """The events of a run as the run store gives them back."""
    return EVENTS.validate_python([as_recorded(event)[0] for event in state.events])


def comparable(told: Outcomes) -> dict[str, Any]:
    """What both ways know: results of single items are not recorded, order and values are."""
    fields = told.model_dump(include={"status", "graph_hash", "asked", "pins", "options", "order", "failed"})
    nodes = {name: known.model_dump(exclude={"results"}) for name, known in told.nodes.items() if known.items is None}
    # Of several values that a node wrote to a variable only the last is left.
    return fields | {"nodes": nodes}


@settings(deadline=None)
@given(speaking())
def test_random_runs(run: tuple[Graph, RunRequest]) -> None:
    graph, request = run
    source = Driver(graph, request).run()
    told = recorded("run", graph, stored(source))
    assert comparable(told) == comparable(outcomes(graph, source))
    assert not told.lost


@pytest.mark.parametrize("kind", ["iteration", "loop"])
def test_containers_with_what_they_wrote_and_said(kind: str) -> None:
    graph = counting(kind)
    request = RunRequest(
        graph=graph.document, inputs={"items": {"l": [7, 8]}}, conversation={"n": 10}, query="hi", user="u", tenant="t"
    )
    source = Driver(graph, request).run()
    told = recorded("run", graph, stored(source))
    assert comparable(told) == comparable(outcomes(graph, source))
    why = "is not in the run store; fork from 'c'" if kind == "iteration" else "fork from the loop itself"
    with pytest.raises(InvalidInputs, match=why):
        split(told, graph, graph, "c[1]")
    if kind == "loop":
        of_a_fork = recorded("run", graph, stored(fork(source, graph, "t").state))
        with pytest.raises(InvalidInputs, match=r"cannot take over node 'c' .*what the nodes inside left"):
            split(of_a_fork, graph, graph, "t")


def long(text: str, big: str = "{{ t * 1000 }}") -> tuple[Graph, RunState]:
    """start -> big -> small -> end; `big` repeats its text."""
    nodes = [
        start(t="paragraph"),
        template("big", big, t=["start", "t"]),
        template("small", "{{ t }}", t=["start", "t"]),
        end(out=["small", "output"], big=["big", "output"]),
    ]
    graph = Graph.from_document(document(nodes, [("start", "big"), ("big", "small"), ("small", "end")]))
    return graph, Driver(graph, RunRequest(graph=graph.document, inputs={"t": text})).run()


def test_a_node_with_a_value_that_was_cut_is_not_taken_over() -> None:
    graph, source = long("x" * 50)
    told = recorded("run", graph, stored(source))
    assert told.lost == {"big": ["output"], "end": ["big"]}
    why = r"node 'big' .*\(output: too large.*Fork from 'big' or a node before"
    for from_node in ("small", "end"):
        with pytest.raises(InvalidInputs, match=why) as refused:
            split(told, graph, graph, from_node)
        assert (refused.value.node, refused.value.field) == ("big", "output")
    assert list(split(told, graph, graph, "big").reuse) == ["start"]


def test_the_graph_must_be_the_one_that_ran() -> None:
    _, source = long("x")
    other, _ = long("x", "{{ t * 999 }}")
    for given_graph, why in [(None, "none was given"), (other, "the one given is another")]:
        with pytest.raises(InvalidInputs, match=f"no longer on the server.*just as the run ran it.*{why}") as refused:
            recorded("run", given_graph, stored(source))
        assert refused.value.field == "graph"


def test_events_that_are_missing_are_named() -> None:
    graph, source = long("x")
    events = stored(source)
    for kept, missing in [(events[:3] + events[4:], 4), (events[1:], 1), ([], 1)]:
        with pytest.raises(PlatformError, match=f"event {missing} of run 'run' is not in the run store"):
            recorded("run", graph, kept)


def test_what_the_caller_gave_must_be_recorded_whole() -> None:
    declared = ({"name": "log", "value_type": ValueType.STRING, "value": ""},)
    drawn = document([start(), end()], [("start", "end")], conversation=declared)
    graph = Graph.from_document(drawn)
    request = RunRequest(graph=drawn, conversation={"log": "y" * 40_000})
    with pytest.raises(InvalidInputs, match="its 'conversation' is too large"):
        recorded("run", graph, stored(Driver(graph, request).run()))


def test_an_iteration_that_failed_is_not_known_in_part() -> None:
    source_code = "def main(x):\n    if x == 3: raise ValueError('three')\n    return {'r': x}"
    inner = [code("k", source_code, {"r": "number"}, "it", x=["it", "item"])]
    drawn = iteration(["start", "items", "l"], inner, [("its", "k")], ["k", "r"])
    graph = Graph.from_document(drawn)
    source = Driver(graph, RunRequest(graph=drawn, inputs={"items": {"l": [1, 2, 3]}, "n": 1})).run()
    told = recorded("run", graph, stored(source))
    assert comparable(told) == comparable(outcomes(graph, source))
    assert outcomes(graph, source).nodes["it"].items == 2
    found = split(told, graph, graph)
    assert (list(found.reuse), found.anew) == (["start"], ("it", "end"))
