"""Forks in the pure core: what is taken over is not performed again, and all comes out as before."""

from __future__ import annotations

from typing import Any

import pytest
from graph.reusing import JINJA, fork, performed, reused, speaking, template, texts
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fakes.driver import Driver, perform
from fakes.graphs import document, end, node, start
from perdure_graph.commands import Begin, Stop
from perdure_graph.effects import Effect, Reply
from perdure_graph.errors import InvalidInputs, NodeError
from perdure_graph.fork_plan import split
from perdure_graph.graph import Document, Graph
from perdure_graph.outcomes import outcomes
from perdure_graph.request import Pin, RunRequest
from perdure_graph.state import RunState
from perdure_graph.view import result


def comparable(state: RunState) -> dict[str, Any]:
    """Outputs of a run; answers of branches that nothing joins have no order of their own."""
    outputs = dict(result(state).outputs)
    if "answer" in outputs:
        outputs["answer"] = sorted(outputs["answer"].split(">"))
    return outputs


@settings(deadline=None)
@given(speaking(), st.data())
def test_a_fork_of_a_finished_run_ends_like_it_and_performs_nothing_before_its_node(
    run: tuple[Graph, RunRequest], data: st.DataObject
) -> None:
    graph, request = run
    source = Driver(graph, request).run()
    ended = [node_id for node_id, run in source.root.nodes.items() if run.status != "skipped"]
    from_node = data.draw(st.sampled_from(ended))
    forked = fork(source, graph, from_node)
    assert comparable(forked.state) == comparable(source)
    assert (forked.state.status, forked.state.exceptions_count) == (source.status, source.exceptions_count)
    assert sorted(text for _, text in texts(forked.state)) == sorted(text for _, text in texts(source))
    after = graph.reachable(from_node)
    assert set(performed(forked)) <= after
    assert set(reused(forked.state)) == set(ended) - after


@settings(deadline=None)
@given(speaking(), st.integers(0, 20))
def test_a_run_taken_over_whole_says_the_same_in_the_same_order(run: tuple[Graph, RunRequest], after: int) -> None:
    graph, request = run
    source = Driver(graph, request).run()
    again = fork(source, graph)
    assert not again.calls
    assert texts(again.state) == texts(source)
    assert result(again.state).outputs == result(source).outputs
    twice = fork(again.state, graph)
    assert outcomes(graph, twice.state).nodes == outcomes(graph, source).nodes
    stopped = Driver(graph, request)
    stopped.send(Begin())
    for _ in range(after):
        stopped.tick()
    assume(not stopped.state.ended)
    stopped.send(Stop())
    continued = fork(stopped.state, graph)
    assert comparable(continued.state) == comparable(source)
    assert not set(performed(continued)) & set(outcomes(graph, stopped.state).order)


def chain() -> Document:
    """start -> a -> b -> c -> end, each a template of the one before."""
    return document(
        [
            start(who="text-input"),
            template("a", "a({{ x }})", x=["start", "who"]),
            template("b", "b({{ x }})", x=["a", "output"]),
            template("c", "c({{ x }})", x=["b", "output"]),
            end(out=["c", "output"]),
        ],
        [("start", "a"), ("a", "b"), ("b", "c"), ("c", "end")],
    )


def drawn_otherwise(drawn: Document, node_id: str, **data: Any) -> Graph:
    nodes = tuple(
        spec.model_copy(update={"data": spec.data | data}) if spec.id == node_id else spec for spec in drawn.nodes
    )
    return Graph.from_document(Document(nodes=nodes, edges=drawn.edges))


def test_on_a_changed_graph_the_changed_node_and_what_follows_runs_anew() -> None:
    graph = Graph.from_document(chain())
    source = Driver(graph, RunRequest(graph=graph.document, inputs={"who": "x"})).run()
    forked = fork(source, graph, new=drawn_otherwise(graph.document, "b", template="B<{{ x }}>" + JINJA))
    assert performed(forked) == ["b", "c"]
    assert result(forked.state).outputs == {"out": "c(B<a(x)>)"}
    renamed = fork(source, graph, new=drawn_otherwise(graph.document, "b", title="another title"))
    assert performed(renamed) == []


def test_what_a_node_reads_of_the_graph_belongs_to_its_definition() -> None:
    nodes = [start(), template("a", "{{ x }}", x=["env", "key"]), template("b", "b"), end(out=["a", "output"])]
    edges = [("start", "a"), ("a", "b"), ("b", "end")]
    graphs = [
        Graph.from_document(
            document(nodes, edges, environment=({"name": "key", "value_type": "string", "value": value},))
        )
        for value in ("old", "new")
    ]
    source = Driver(graphs[0], RunRequest(graph=graphs[0].document)).run()
    forked = fork(source, graphs[0], new=graphs[1])
    assert performed(forked) == ["a", "b"]
    assert result(forked.state).outputs == {"out": "new"}


def test_a_new_node_between_runs_and_what_follows_it() -> None:
    graph = Graph.from_document(chain())
    source = Driver(graph, RunRequest(graph=graph.document, inputs={"who": "x"})).run()
    drawn = graph.document
    edges = [edge for edge in drawn.edges if edge.source != "b"]
    new = Graph.from_document(
        document([*drawn.nodes, template("n", "n")], [*((e.source, e.target) for e in edges), ("b", "n"), ("n", "c")])
    )
    assert performed(fork(source, graph, new=new)) == ["n", "c"]


def test_a_join_after_a_skipped_branch_is_taken_over() -> None:
    condition = {"variable_selector": ["start", "n"], "comparison_operator": ">", "value": "5"}
    case = {"case_id": "yes", "logical_operator": "and", "conditions": [condition]}
    graph = Graph.from_document(
        document(
            [
                start(n="number"),
                node("if", "if-else", cases=[case]),
                template("low", "low"),
                template("high", "high"),
                template("join", "join"),
                template("last", "last"),
                end(out=["low", "output"]),
            ],
            [
                ("start", "if"),
                ("if", "yes", "high"),
                ("if", "false", "low"),
                ("high", "join"),
                ("low", "join"),
                ("join", "last"),
                ("last", "end"),
            ],
        )
    )
    source = Driver(graph, RunRequest(graph=graph.document, inputs={"n": 1})).run()
    assert performed(fork(source, graph, "last")) == ["last"]
    with pytest.raises(InvalidInputs, match=r"'high' was skipped.*Possible are: start, if, low, join, last, end"):
        fork(source, graph, "high")


def test_a_run_that_failed_goes_on_with_the_node_that_failed() -> None:
    graph = Graph.from_document(chain())

    def broken(effect: Effect) -> Reply:
        if "c(" in effect.model_dump_json():
            raise NodeError("down", "Down")
        return perform(effect)

    source = Driver(graph, RunRequest(graph=graph.document, inputs={"who": "x"}), performer=broken).run()
    assert source.status == "failed"
    forked = fork(source, graph)
    assert performed(forked) == ["c"]
    assert (forked.state.status, result(forked.state).outputs) == ("succeeded", {"out": "c(b(a(x)))"})


def test_a_running_run_is_forked_from_where_it_is() -> None:
    graph = Graph.from_document(chain())
    driver = Driver(graph, RunRequest(graph=graph.document, inputs={"who": "x"}))
    driver.send(Begin())
    driver.tick()
    forked = fork(driver.state, graph)
    assert performed(forked) == ["b", "c"]
    with pytest.raises(InvalidInputs, match="never reached 'c'"):
        fork(driver.state, graph, "c")
    with pytest.raises(InvalidInputs, match=r"no such node \(did you mean 'start'\?\)"):
        fork(driver.state, graph, "strat")


def test_failed_attempts_of_what_is_taken_over_count() -> None:
    retry = {"retry_enabled": True, "max_retries": 2, "retry_interval": 0}
    tool = {"provider_id": "p", "provider_type": "builtin", "provider_name": "p", "tool_name": "t"}
    tool |= {"tool_label": "t", "tool_configurations": {}, "tool_parameters": {}, "retry_config": retry}
    graph = Graph.from_document(
        document(
            [start(), node("a", "tool", **tool), template("b", "b"), end()], [("start", "a"), ("a", "b"), ("b", "end")]
        )
    )
    pins = {"a": Pin(error="boom", fail_times=2, outputs={"text": "ok"})}
    source = Driver(graph, RunRequest(graph=graph.document, pins=pins)).run()
    assert (source.status, source.exceptions_count) == ("partial-succeeded", 2)
    forked = fork(source, graph, "b")
    assert (forked.state.status, forked.state.exceptions_count) == ("partial-succeeded", 2)


def test_altered_outputs_run_what_follows_anew() -> None:
    graph = Graph.from_document(chain())
    source = Driver(graph, RunRequest(graph=graph.document, inputs={"who": "x"})).run()
    told = outcomes(graph, source)
    found = split(told, graph, graph, altered=["a"])
    assert (list(found.reuse), found.anew) == (["start", "a"], ("b", "c", "end"))
