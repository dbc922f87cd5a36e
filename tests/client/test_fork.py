"""Forks through the client and the command line: what was done is not done again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from client.conftest import Outside

from fakes.graphs import code, document, end, node, start
from perdure import Graph, RunOptions
from perdure_graph.events import NodeFinished, RunStarted
from perdure_graph.graph import Document, NodeSpec


def call(node_id: str, url: str, parent: str | None = None, **data: Any) -> NodeSpec:
    """A POST; it is counted by the target."""
    auth = {"type": "no-auth", "config": None}
    body = {"type": "none", "data": []}
    return node(
        node_id,
        "http-request",
        parent,
        method="post",
        url=url,
        headers="",
        params="",
        authorization=auth,
        body=body,
        timeout={},
        **data,
    )


BAD = "def main(text, who):\n    if who != 'good': raise ValueError('bad ' + who)\n    return {'r': who}"
MENDED = "def main(text, who):\n    return {'r': 'mended ' + who}"


def chain(outside: Outside, source: str = BAD) -> Document:
    """start -> a (POST) -> b (POST of what a answered) -> check (code) -> c (POST) -> end."""
    return document(
        [
            start(who="text-input"),
            call("a", outside.url("a-{{#start.who#}}")),
            call("b", outside.url("b-{{#a.status_code#}}")),
            code("check", source, {"r": "string"}, text=["b", "body"], who=["start", "who"]),
            call("c", outside.url("c-{{#check.r#}}")),
            end(r=["check", "r"], status=["c", "status_code"]),
        ],
        [("start", "a"), ("a", "b"), ("b", "check"), ("check", "c"), ("c", "end")],
    )


async def test_complaint_15_a_failed_run_goes_on_at_the_failed_node_on_a_newer_graph(outside: Outside) -> None:
    graph, mended = (Graph.from_document(chain(outside, source)) for source in (BAD, MENDED))
    failed = await outside.client.start(graph, {"who": "x"})
    assert (await failed.result()).status == "failed"
    assert outside.asked() == ["a-x", "b-200"]
    again = await failed.fork()
    assert (await again.result()).status == "failed", "the same graph fails again"
    assert outside.asked() == [], "nothing before the node that failed is asked again"
    forked = await failed.fork(graph=mended)
    assert await forked.outputs() == {"r": "mended x", "status": 200}
    assert outside.asked() == ["c-mended x"]
    events = [event async for event in forked.events()]
    assert isinstance(events[0], RunStarted)
    assert events[0].forked_from == failed.run_id
    reused = [event.node_id for event in events if isinstance(event, NodeFinished) and event.reused]
    assert reused == ["start", "a", "b"]
    described = await outside.client.temporal.get_workflow_handle(forked.run_id).describe()
    assert await described.memo_value("forked_from") == failed.run_id


async def test_complaint_15_any_node_can_be_the_first_and_inputs_and_variables_can_change(outside: Outside) -> None:
    source = await outside.client.start(Graph.from_document(chain(outside)), {"who": "good"})
    assert await source.outputs() == {"r": "good", "status": 200}
    assert outside.asked() == ["a-good", "b-200", "c-good"]

    assert await (await source.fork("c")).outputs() == {"r": "good", "status": 200}
    assert outside.asked() == ["c-good"]

    everything = await source.fork(inputs={"who": "bad"})
    assert (await everything.result()).status == "failed"
    assert outside.asked() == ["a-bad", "b-200"]

    late = await source.fork("check", inputs={"who": "ill"})
    result = await late.result()
    assert result.error is not None
    assert (result.error.node, result.error.message.count("bad ill")) == ("check", 1)
    assert outside.asked() == []

    altered = await source.fork(variables={"check": {"r": "other"}})
    assert await altered.outputs() == {"r": "other", "status": 200}
    assert outside.asked() == ["c-other"]

    # A fork can be forked like any run, and knows what was asked at first.
    of_a_fork = await altered.fork("b")
    assert await of_a_fork.outputs() == {"r": "good", "status": 200}
    assert outside.asked() == ["b-200", "c-good"]


async def test_the_same_fork_under_the_same_id_is_one_run(outside: Outside) -> None:
    source = await outside.client.start(Graph.from_document(chain(outside)), {"who": "good"})
    await source.result()
    ids = {(await source.fork("c", run_id=f"{source.run_id}-fork")).run_id for _ in range(2)}
    assert ids == {f"{source.run_id}-fork"}
    await outside.client.run(ids.pop()).result()
    assert outside.asked() == ["a-good", "b-200", "c-good", "c-good"]


def batch(outside: Outside, source: str) -> Document:
    """Per item: judge it (code), then POST it."""
    inner = {"iteration_id": "it", "isInIteration": True}
    return document(
        [
            start(items="json_object"),
            call("first", outside.url("first")),
            node(
                "it",
                "iteration",
                start_node_id="its",
                iterator_selector=["start", "items", "l"],
                output_selector=["book", "status_code"],
            ),
            node("its", "iteration-start", "it", **inner),
            code("judge", source, {"r": "number"}, "it", x=["it", "item"]),
            call("book", outside.url("book-{{#judge.r#}}"), "it", **inner),
            end(out=["it", "output"]),
        ],
        [("start", "first"), ("first", "it"), ("its", "judge"), ("judge", "book"), ("it", "end")],
    )


@pytest.mark.parametrize("window_items", [50, 2])
async def test_an_iteration_goes_on_with_its_item(outside: Outside, window_items: int) -> None:
    strict = "def main(x):\n    if x > 3: raise ValueError('too much')\n    return {'r': x}"
    graph = Graph.from_document(batch(outside, strict))
    mended = Graph.from_document(batch(outside, "def main(x):\n    return {'r': x * 10}"))
    options = RunOptions(window_items=window_items)
    failed = await outside.client.start(graph, {"items": {"l": [1, 2, 3, 4, 5]}}, options=options)
    assert (await failed.result()).status == "failed"
    assert outside.asked() == ["first", "book-1", "book-2", "book-3"]
    forked = await failed.fork("it[3]", graph=mended)
    assert await forked.outputs() == {"out": [200] * 5}
    assert outside.asked() == ["book-40", "book-50"]
    finished = await forked.fork("it[4]")
    assert await finished.outputs() == {"out": [200] * 5}
    assert outside.asked() == ["book-50"], "also from an item of a run that ended well"
    whole = await failed.fork(graph=mended)
    assert await whole.outputs() == {"out": [200] * 5}
    assert outside.asked() == [f"book-{n}" for n in (10, 20, 30, 40, 50)]


async def test_runs_that_wait_or_were_stopped_can_be_forked(outside: Outside) -> None:
    ask = node(
        "ask",
        "human-input",
        form_content="Go on?",
        inputs=[],
        user_actions=[{"id": "yes", "title": "Yes"}],
        timeout=1,
        timeout_unit="day",
    )
    nodes = [start(), call("a", outside.url("a")), ask, call("b", outside.url("b")), end(status=["b", "status_code"])]
    graph = Graph.from_document(document(nodes, [("start", "a"), ("a", "ask"), ("ask", "yes", "b"), ("b", "end")]))
    source = await outside.client.start(graph)
    async with asyncio.timeout(30):
        while (await source.status()).status != "paused":
            await asyncio.sleep(0.05)
    forks = [await source.fork()]
    await source.stop("enough")
    forks.append(await source.fork())
    for forked in forks:
        async with asyncio.timeout(30):
            while (await forked.status()).status != "paused":
                await asyncio.sleep(0.05)
        await forked.submit("ask", "yes")
        assert await forked.outputs() == {"status": 200}
    assert outside.asked() == ["a", "b", "b"]


async def test_a_run_that_moved_to_a_fresh_history_can_be_forked(outside: Outside) -> None:
    nodes = [start(who="text-input")]
    edges: list[tuple[str, ...]] = []
    last = "start"
    for number in range(8):
        nodes.append(call(f"n{number}", outside.url(f"n{number}-{{{{#start.who#}}}}")))
        edges.append((last, f"n{number}"))
        last = f"n{number}"
    graph = Graph.from_document(document([*nodes, end(status=[last, "status_code"])], [*edges, (last, "end")]))
    source = await outside.client.start(graph, {"who": "x"}, options=RunOptions(continue_after_events=10))
    assert await source.outputs() == {"status": 200}
    description = await outside.client.temporal.get_workflow_handle(source.run_id).describe()
    assert description.run_id != description.raw_description.workflow_execution_info.first_run_id
    outside.asked()
    assert await (await source.fork("n7")).outputs() == {"status": 200}
    assert outside.asked() == ["n7-x"]


async def test_conversation_variables_are_as_they_were_or_as_told(outside: Outside) -> None:
    def add(node_id: str, text: str) -> NodeSpec:
        item = {
            "variable_selector": ["conversation", "log"],
            "input_type": "constant",
            "operation": "set",
            "value": text,
        }
        return node(node_id, "assigner", version="2", items=[item])

    graph = Graph.from_document(
        document(
            [
                start(),
                add("first", "one"),
                call("a", outside.url("a-{{#conversation.log#}}")),
                add("second", "two"),
                call("b", outside.url("b-{{#conversation.log#}}")),
                node("last", "answer", answer="{{#conversation.log#}}"),
            ],
            [("start", "first"), ("first", "a"), ("a", "second"), ("second", "b"), ("b", "last")],
            conversation=({"name": "log", "value_type": "string", "value": "none"},),
            mode="advanced-chat",
        )
    )
    source = await outside.client.start(graph, query="hi")
    assert (await source.result()).conversation == {"log": "two"}
    assert outside.asked() == ["a-one", "b-two"]
    for from_node, variables, asked in [
        ("a", {}, ["a-one", "b-two"]),
        ("b", {}, ["b-two"]),
        ("b", {"conversation": {"log": "told"}}, ["b-told"]),
    ]:
        forked = await source.fork(from_node, variables=variables)
        assert (await forked.outputs())["answer"] == ("told" if variables else "two")
        assert outside.asked() == asked


async def test_values_larger_than_a_payload_are_taken_over(outside: Outside) -> None:
    nodes = [
        start(text="paragraph"),
        code("twice", "def main(x):\n    return {'r': x[:200000]}", {"r": "string"}, x=["start", "text"]),
        call("a", outside.url("a")),
        end(text=["start", "text"], r=["twice", "r"], status=["a", "status_code"]),
    ]
    graph = Graph.from_document(document(nodes, [("start", "twice"), ("twice", "a"), ("a", "end")]))
    text = "x" * 3_000_000
    source = await outside.client.start(graph, {"text": text})
    assert (await source.outputs())["text"] == text
    outputs = await (await source.fork("a")).outputs()
    assert (outputs["text"] == text, outputs["r"] == text[:200_000], outputs["status"]) == (True, True, 200)
    assert outside.asked() == ["a", "a"]
