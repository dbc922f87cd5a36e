"""Forks of runs with iterations and loops: taken over whole, or from an item on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graph.reusing import counting, fork, performed, template, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.driver import Driver
from fakes.graphs import code, iteration, node
from perdure_graph.commands import Begin, SetVariables
from perdure_graph.errors import InvalidInputs
from perdure_graph.fork_plan import plan
from perdure_graph.graph import Graph
from perdure_graph.outcomes import outcomes
from perdure_graph.recorded import recorded
from perdure_graph.request import Reused, RunOptions, RunRequest
from perdure_graph.view import result

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
    for name in ("it[3]", "it[3].k"):
        forked = fork(source, graph, name, new=mended)
        assert performed(forked) == ["it[3].k", "it[4].k"]
        assert result(forked.state).outputs == {"out": [10, 20, 30, 40, 50]}
    for name, why in [
        ("k", r"'k' is inside iteration 'it' .* in which item; fork from 'it\[n\]' with n from 0 to 3, or from 'it'"),
        ("it[3].j", "there is no node 'j' in 'it'"),
        ("it[3].end", "there is no node 'end' in 'it'"),
        ("it[4]", r"only the first 3 items of 'it' ended without a gap; fork from 'it\[3\]'"),
    ]:
        with pytest.raises(InvalidInputs, match=why) as refused:
            fork(source, graph, name, new=mended)
        assert (refused.value.node, refused.value.field) == (name, "from_node")
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


def test_what_an_operator_set_is_taken_over_from_there_on() -> None:
    graph = counting("loop")
    driver = Driver(graph, RunRequest(graph=graph.document, conversation={"n": 10}))
    driver.send(Begin())
    while "t" not in driver.pending:
        driver.tick()
    driver.send(SetVariables(variables={"conversation": {"n": 50}}))
    while driver.tick():
        pass
    assert driver.state.conversation == {"n": 50}
    later = fork(driver.state, graph, "last")
    assert later.state.conversation == {"n": 50}
    told = recorded("run", graph, driver.state.events)
    assert told.nodes["c"].writes == outcomes(graph, driver.state).nodes["c"].writes
    assert fork(driver.state, graph, "c").state.conversation == {"n": 13}
