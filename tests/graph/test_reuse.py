"""Forks in the pure core: what is taken over is not performed again, and all comes out as before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fakes import graphs
from fakes.driver import Driver, perform
from fakes.graphs import code, dags, document, end, iteration, node, start
from perdure_graph.commands import Begin, Stop
from perdure_graph.effects import Effect, Reply
from perdure_graph.errors import InvalidInputs, NodeError
from perdure_graph.events import NodeFinished, TextChunk
from perdure_graph.fork_plan import plan, split
from perdure_graph.graph import Document, Graph, NodeSpec
from perdure_graph.request import Pin, Reused, RunOptions, RunRequest
from perdure_graph.reuse import Outcomes, outcomes
from perdure_graph.state import RunState
from perdure_graph.view import result

FAILS = Pin(error="boom", error_type="BoomError")
# Templates without Jinja's own syntax are filled in by the core: a comment makes an effect of one.
JINJA = "{# #}"


def template(node_id: str, text: str, parent: str | None = None, /, **variables: list[str]) -> NodeSpec:
    return graphs.template(node_id, text + JINJA, parent, **variables)


def fork(
    source: RunState,
    graph: Graph,
    from_node: str | None = None,
    *,
    new: Graph | None = None,
    performer: Callable[[Effect], Reply] = perform,
    **more: Any,
) -> Driver:
    """A fork as the client makes it; the answer of the query crosses the wire."""
    told = Outcomes.model_validate_json(outcomes(graph, source).model_dump_json())
    target = new or graph
    request = RunRequest(
        graph=target.document,
        reuse=plan(told, graph, target, from_node),
        pins=told.pins,
        **(told.asked.model_dump() | more),
    )
    driver = Driver(target, RunRequest.model_validate_json(request.model_dump_json()), performer=performer)
    driver.run()
    return driver


def performed(driver: Driver) -> list[str]:
    return [call.key for call in driver.calls]


def texts(state: RunState) -> list[tuple[str, str]]:
    return [(event.node_id, event.text) for event in state.events if isinstance(event, TextChunk)]


def reused(state: RunState) -> list[str]:
    return [event.node_id for event in state.events if isinstance(event, NodeFinished) and event.reused]


@st.composite
def speaking(draw: st.DrawFn) -> tuple[Graph, RunRequest]:
    """A random graph whose tools may fail, with answers and ends hung into it."""
    drawn = draw(dags())
    drawn_graph = Graph.from_document(drawn)
    specs = [
        spec.model_copy(update={"data": spec.data | {"template": spec.data["template"] + JINJA}})
        if spec.data["type"] == "template-transform"
        else spec
        for spec in drawn.nodes
    ]
    edges: list[tuple[str, ...]] = [(edge.source, edge.handle, edge.target) for edge in drawn.edges]
    inner = [spec.id for spec in specs if spec.id != "start"]
    for number in range(draw(st.integers(1, 3))):
        before = draw(st.sampled_from(inner))
        # What branches that nothing joins see of each other depends on timing: read only what lies before.
        named = draw(st.sampled_from([spec for spec in inner if before in drawn_graph.reachable(spec)]))
        name = f"r{number}"
        if draw(st.booleans()):
            specs.append(node(name, "answer", answer=f"<{number}:{{{{#{named}.output#}}}}>"))
        else:
            specs.append(end(name, **{f"o{number}": [named, "output"]}))
        handle = draw(st.sampled_from(sorted({h for s, h, _ in edges if s == before} or {"source"})))
        edges.append((before, handle, name))
    graph = Graph.from_document(document(specs, edges))
    tools = [spec.id for spec in specs if spec.data["type"] == "tool"]
    failing = draw(st.sets(st.sampled_from(tools))) if tools else set[str]()
    pins = {tool: FAILS if tool in failing else Pin() for tool in tools}
    return graph, RunRequest(graph=graph.document, inputs={"n": draw(st.integers(0, 9))}, pins=pins)


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


FAILS_AT = "def main(x, i):\n    if i == LIMIT: raise ValueError('stuck')\n    return {'r': x * 10}"


def over(limit: int, **data: Any) -> Graph:
    inner = [
        code("k", FAILS_AT.replace("LIMIT", str(limit)), {"r": "number"}, "it", x=["it", "item"], i=["it", "index"])
    ]
    return Graph.from_document(iteration(["start", "items", "l"], inner, [("its", "k")], ["k", "r"], **data))


def test_a_failed_iteration_goes_on_with_the_item_that_failed() -> None:
    graph, mended = over(3), over(-1)
    request = RunRequest(graph=graph.document, inputs={"items": {"l": [1, 2, 3, 4, 5]}})
    source = Driver(graph, request).run()
    assert source.status == "failed"
    assert [call.key for call in fork(source, graph).calls] == ["it[3].k"]
    # Drawn otherwise it runs anew, unless the caller says that the first items are good.
    assert performed(fork(source, graph, new=mended))[0] == "it[0].k"
    for name in ("it[3]", "it[3].k", "k"):
        forked = fork(source, graph, name, new=mended)
        assert performed(forked) == ["it[3].k", "it[4].k"]
        assert result(forked.state).outputs == {"out": [10, 20, 30, 40, 50]}
    with pytest.raises(InvalidInputs, match="there is no node 'j'"):
        fork(source, graph, "it[3].j", new=mended)
    with pytest.raises(InvalidInputs, match="only 3 items"):
        fork(source, graph, "it[4]", new=mended)
    assert performed(fork(source, graph, "it", new=mended))[0] == "it[0].k"


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(1, 4), st.sampled_from([2, 50]), st.data())
@pytest.mark.parametrize("mode", ["continue-on-error", "remove-abnormal-output"])
def test_from_any_item_an_iteration_gives_the_same(
    mode: str, items: list[int], width: int, window: int, data: st.DataObject
) -> None:
    source_code = "def main(x):\n    if x == 7: raise ValueError('seven')\n    return {'r': [x, x]}"
    inner = [code("k", source_code, {"r": "array[number]"}, "it", x=["it", "item"])]
    drawn = iteration(
        ["start", "items", "l"],
        inner,
        [("its", "k")],
        ["k", "r"],
        is_parallel=True,
        parallel_nums=width,
        error_handle_mode=mode,
    )
    graph = Graph.from_document(drawn)
    source = Driver(graph, RunRequest(graph=drawn, inputs={"items": {"l": items}})).run()
    last = [index for index, item in enumerate(items) if item != 7 or mode == "continue-on-error"]
    item = data.draw(st.integers(0, max(last, default=-1) + 1))
    forked = fork(source, graph, f"it[{item}]")
    assert result(forked.state).outputs == result(source).outputs
    assert forked.state.status == source.status
    assert sorted(performed(forked)) == sorted(f"it[{index}].k" for index in range(item, len(items)))
    told = outcomes(graph, source)
    request = RunRequest(
        graph=drawn,
        inputs={"items": {"l": items}},
        reuse=plan(told, graph, graph, f"it[{item}]"),
        options=RunOptions(window_items=window),
    )
    windowed = Driver(graph, request)
    windowed.send(Begin())
    opened = [p.request for p in windowed.pending.values() if hasattr(p, "request")]
    for window_request in opened:
        first = window_request.first
        assert first >= item
        assert window_request.items == items[first : first + len(window_request.items)]


def test_fewer_items_than_were_taken_over_keep_only_those() -> None:
    graph = over(-1)
    reuse = {"it": Reused(items=3, results={0: "a", 1: "b", 2: "c"})}
    state = Driver(graph, RunRequest(graph=graph.document, inputs={"items": {"l": [1, 2]}}, reuse=reuse)).run()
    assert result(state).outputs == {"out": ["a", "b"]}


def counting(kind: str) -> Graph:
    """A container that counts up a conversation variable in each pass, then a node that reads it."""
    add = {"variable_selector": ["conversation", "n"], "input_type": "constant", "operation": "+=", "value": 1}
    data: dict[str, Any] = {"start_node_id": "cs"}
    if kind == "iteration":
        data |= {"iterator_selector": ["start", "items", "l"], "output_selector": ["say", "answer"]}
        own = {"isInIteration": True, "iteration_id": "c"}
    else:
        data |= {"loop_count": 3}
        own = {"isInLoop": True, "loop_id": "c"}
    nodes = [
        start(items="json_object"),
        node("c", kind, **data),
        node("cs", f"{kind}-start", "c", **own),
        node("add", "assigner", "c", version="2", items=[add], **own),
        node("say", "answer", "c", answer="{{#conversation.n#}};", **own),
        template("t", "{{ x }}", x=["conversation", "n"]),
        template("m", "{{ x }}", x=["say", "answer"]),
        node("last", "answer", answer="total {{#t.output#}} {{#m.output#}}"),
    ]
    edges = [("start", "c"), ("cs", "add"), ("add", "say"), ("c", "t"), ("t", "m"), ("m", "last")]
    declared = ({"name": "n", "value_type": "number", "value": 0},)
    return Graph.from_document(document(nodes, edges, conversation=declared, mode="advanced-chat"))


@pytest.mark.parametrize("kind", ["iteration", "loop"])
def test_a_container_that_is_taken_over_leaves_what_it_wrote_and_said(kind: str) -> None:
    graph = counting(kind)
    request = RunRequest(graph=graph.document, inputs={"items": {"l": [7, 8, 9]}}, conversation={"n": 10})
    source = Driver(graph, request).run()
    assert source.status == "succeeded"
    assert result(source).outputs["answer"].startswith("11;12;13;total 13")
    forked = fork(source, graph, "t")
    assert performed(forked) == ["t", "m"]
    assert result(forked.state).outputs == result(source).outputs
    assert result(forked.state).conversation == {"n": 13}
    assert "".join(text for _, text in texts(forked.state)) == "".join(text for _, text in texts(source))
    whole = fork(source, graph, "c")
    assert result(whole.state).outputs == result(source).outputs
    with pytest.raises(
        InvalidInputs, match="'add' in it writes" if kind == "iteration" else "cannot be entered in the"
    ):
        fork(source, graph, "c[1]")


def test_items_with_answers_are_taken_over_with_what_they_said() -> None:
    inner = [node("say", "answer", "it", answer="<{{#it.item#}}>"), template("k", "{{ x }}", "it", x=["it", "item"])]
    drawn = iteration(["start", "items", "l"], inner, [("its", "say"), ("say", "k")], ["k", "output"])
    graph = Graph.from_document(drawn)
    source = Driver(graph, RunRequest(graph=drawn, inputs={"items": {"l": ["a", "b", "c"]}})).run()
    forked = fork(source, graph, "it[2]")
    assert performed(forked) == ["it[2].k"]
    assert result(forked.state).outputs == result(source).outputs
    assert texts(forked.state) == texts(source)


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


def test_the_request_is_kept_as_it_was() -> None:
    graph = counting("loop")
    request = RunRequest(graph=graph.document, query="hi", conversation={"n": 5}, user="u", tenant="t")
    told = outcomes(graph, Driver(graph, request, round_trip=True).run())
    assert told.asked == request.asked()
    assert told.graph.hash == graph.hash
    assert json.loads(told.model_dump_json())["order"] == ["start", "c", "t", "m", "last"]


@pytest.mark.parametrize(
    ("reuse", "why"),
    [
        ({"nope": Reused()}, "'nope' is not in the graph"),
        ({"k": Reused()}, "lies inside 'it'"),
        ({"start": Reused(items=1)}, "is no iteration"),
    ],
)
def test_reuse_that_does_not_fit_is_refused(reuse: dict[str, Reused], why: str) -> None:
    graph = over(-1)
    with pytest.raises(InvalidInputs, match=why):
        Driver(graph, RunRequest(graph=graph.document, inputs={"items": {"l": []}}, reuse=reuse))
