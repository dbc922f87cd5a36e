"""When readers are told that an effect writes the answer: in the order of the template, once for each effect."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes.driver import Driver, perform
from fakes.graphs import document, end, iteration, node, start, template
from perdure_graph.commands import Begin, Call
from perdure_graph.effects import Effect, Reply
from perdure_graph.errors import NodeError
from perdure_graph.events import Event, NodeFinished, TextChunk, TextStream
from perdure_graph.graph import Document, Graph, NodeSpec
from perdure_graph.models.effects import InvokeModel, ModelAnswer, StreamTo
from perdure_graph.models.messages import assistant
from perdure_graph.request import Pin, RunRequest
from perdure_graph.view import events_after


def llm(node_id: str, parent: str | None = None, prompt: str = "Say.", **data: Any) -> NodeSpec:
    """A node that asks a model; its text is what `answer_of` makes of its id."""
    model = {"provider": "fake", "name": node_id, "mode": "chat", "completion_params": {}}
    texts = [{"role": "user", "text": prompt}]
    return node(node_id, "llm", parent, model=model, prompt_template=texts, **data)


def answer(text: str, node_id: str = "answer", parent: str | None = None) -> NodeSpec:
    return node(node_id, "answer", parent, answer=text)


def answer_of(effect: Effect) -> Reply:
    if not isinstance(effect, InvokeModel):
        return perform(effect)
    text = f"<{effect.model}>"
    return ModelAnswer(text=text, message=assistant(text))


def opened(drawn: Document, **more: Any) -> Driver:
    driver = Driver(Graph.from_document(drawn), RunRequest(graph=drawn, **more), performer=answer_of, round_trip=True)
    driver.send(Begin())
    return driver


def told(events: list[Event]) -> list[str]:
    """The answer as the log tells it: `~key@start` for streams, else the text."""
    return [
        f"~{event.key}@{event.start}" if isinstance(event, TextStream) else event.text
        for event in events
        if isinstance(event, TextStream | TextChunk)
    ]


def finish(driver: Driver) -> list[str]:
    while driver.tick():
        pass
    assert driver.state.ended
    return told(driver.state.events)


def reply(driver: Driver, key: str) -> None:
    """Let one effect come back."""
    driver.pick = lambda _n: [k for k in driver.pending if k not in driver.state.waiting].index(key)
    assert driver.tick()
    driver.pick = lambda _n: 0


PARALLEL = document(
    [start(), llm("dufu"), llm("libai"), answer("# Du\n{{#dufu.text#}}\n# Li\n{{#libai.text#}}!")],
    [("start", "dufu"), ("start", "libai"), ("dufu", "answer"), ("libai", "answer")],
    mode="advanced-chat",
)


def test_the_first_in_the_template_is_told_as_soon_as_it_is_asked() -> None:
    driver = opened(PARALLEL)
    assert told(driver.state.events) == ["# Du\n", "~dufu@5"]
    reply(driver, "dufu")
    assert told(driver.state.events) == ["# Du\n", "~dufu@5", "<dufu>", "\n# Li\n", "~libai@17"]
    assert finish(driver) == ["# Du\n", "~dufu@5", "<dufu>", "\n# Li\n", "~libai@17", "<libai>", "!"]


def test_what_ends_before_its_turn_is_never_told() -> None:
    driver = opened(PARALLEL)
    reply(driver, "libai")
    assert told(driver.state.events) == ["# Du\n", "~dufu@5"]
    assert finish(driver) == ["# Du\n", "~dufu@5", "<dufu>", "\n# Li\n", "<libai>", "!"]


def test_the_conformance_flow_of_issue_170_buffers_the_node_that_comes_second() -> None:
    drawn = document(
        [start(), llm("libai"), llm("dufu"), answer("{{#dufu.text#}}|{{#libai.text#}}")],
        [("start", "libai"), ("libai", "dufu"), ("dufu", "answer")],
        mode="advanced-chat",
    )
    driver = opened(drawn)
    assert told(driver.state.events) == []
    reply(driver, "libai")
    assert told(driver.state.events) == ["~dufu@0"]
    assert finish(driver) == ["~dufu@0", "<dufu>", "|", "<libai>"]


@pytest.mark.parametrize(
    "pinned", [{"dufu": Pin(outputs={"text": "P"})}, {"dufu": Pin(chunks=("P",), outputs={"text": "P"})}]
)
def test_what_does_not_run_is_never_told(pinned: dict[str, Pin]) -> None:
    assert finish(opened(PARALLEL, pins=pinned)) == ["# Du\n", "P", "\n# Li\n", "~libai@12", "<libai>", "!"]


def test_another_attempt_is_told_anew_and_its_failure_drops_the_segment() -> None:
    failing = {"retry_config": {"retry_enabled": True, "max_retries": 1, "retry_interval": 0}}
    drawn = document(
        [start(), llm("a", error_strategy="fail-branch", **failing), answer("1{{#a.text#}}2"), answer("no", "other")],
        [("start", "a"), ("a", "answer"), ("a", "fail-branch", "other")],
        mode="advanced-chat",
    )

    def fails(effect: Effect) -> Reply:
        raise NodeError("no", "InvokeError")

    driver = opened(drawn)
    # A fail branch blocks: which answer it will be is not known while the node runs.
    assert told(driver.state.events) == []
    assert finish(driver) == ["1", "<a>", "2"]
    drawn = document(
        [start(), llm("a", error_strategy="default-value", default_value=[], **failing), answer("1{{#a.text#}}2")],
        [("start", "a"), ("a", "answer")],
        mode="advanced-chat",
    )
    driver = opened(drawn)
    driver.performer = fails
    assert finish(driver) == ["1", "~a@1", "~a#2@1", "2"]


def test_an_end_node_streams_its_variables_too_and_nothing_else_is_aimed() -> None:
    drawn = document(
        [start(), llm("a"), llm("b"), template("t", "x{{ b }}", None, b=["b", "text"]), end(a=["a", "text"])],
        [("start", "a"), ("start", "b"), ("b", "t"), ("a", "end"), ("t", "end")],
    )
    driver = opened(drawn)
    aims = {
        key: call.effect.stream
        for key, call in driver.pending.items()
        if isinstance(call, Call) and isinstance(call.effect, InvokeModel)
    }
    assert aims == {"a": StreamTo(node_id="a", selector=("a", "text")), "b": None}
    assert finish(driver) == ["~a@0", "<a>"]


def items_beside(inner: list[NodeSpec], edges: list[tuple[str, ...]]) -> Document:
    """An iteration with an answer inside, beside an llm that the answer of the run prints."""
    drawn = iteration(["start", "items", "l"], inner, edges, ["k", "text"])
    nodes = [spec for spec in drawn.nodes if spec.data["type"] != "end"]
    links = [(e.source, e.handle, e.target) for e in drawn.edges if e.target != "end"]
    more = [("start", "slow"), ("it", "answer"), ("slow", "answer")]
    return document([*nodes, llm("slow"), answer("={{#slow.text#}}")], [*links, *more], mode="advanced-chat")


def test_nodes_inside_containers_write_for_nobody() -> None:
    drawn = items_beside(
        [llm("k", "it", iteration_id="it"), answer("[{{#k.text#}}]", "say", "it")], [("its", "k"), ("k", "say")]
    )
    driver = opened(drawn, inputs={"items": {"l": ["x", "y"]}})
    for key in ("it[0].k", "it[1].k"):
        call = driver.pending[key]
        assert isinstance(call, Call) and isinstance(call.effect, InvokeModel) and call.effect.stream is None
        reply(driver, key)
    assert told(driver.state.events) == ["=", "~slow@1", "[<k>]", "[<k>]"]
    seq = driver.state.seq
    open_now = events_after(driver.state, seq).open
    assert open_now is not None and open_now.start == 1 + len("[<k>][<k>]")
    assert finish(driver)[-1] == "<slow>"


@given(st.randoms(use_true_random=False), st.sets(st.sampled_from(["a", "b", "c", "d"])))
def test_a_stream_starts_where_the_answer_is_and_comes_to_an_end(random: Any, pinned: set[str]) -> None:
    parts = "1{{#b.text#}}{{#a.text#}}22{{#c.text#}}{{#b.text#}}{{#d.text#}}"
    edges = [
        ("start", "a"),
        ("start", "b"),
        ("a", "c"),
        ("start", "d"),
        ("c", "answer"),
        ("b", "answer"),
        ("d", "answer"),
    ]
    drawn = document([start(), *map(llm, "abcd"), answer(parts)], edges, mode="advanced-chat")
    driver = opened(drawn, pins={name: Pin(outputs={"text": f"<{name}>"}) for name in pinned})
    driver.pick = lambda n: random.randrange(n)
    finish(driver)
    said, streams = "", 0
    for event in driver.state.events:
        if isinstance(event, TextStream):
            assert (event.start, event.node_id in pinned) == (len(said), False)
            assert event.key not in [
                old.key for old in driver.state.events[: event.seq - 1] if isinstance(old, TextStream)
            ]
            streams += 1
        elif isinstance(event, TextChunk):
            said += event.text
    assert said == driver.state.outputs["answer"] == "1<b><a>22<c><b><d>"
    assert bool(streams) == bool({"a", "b", "c", "d"} - pinned)


def test_a_reader_who_comes_back_is_told_what_was_open() -> None:
    driver = opened(PARALLEL)
    seq = driver.state.seq
    stream = next(event for event in driver.state.events if isinstance(event, TextStream))
    assert events_after(driver.state, stream.seq - 1).open is None
    assert events_after(driver.state, seq).open == stream
    reply(driver, "dufu")
    page = events_after(driver.state, seq)
    assert page.open == stream
    finished = next(event for event in page.events if isinstance(event, NodeFinished))
    later = events_after(driver.state, finished.seq).open
    assert later is not None and later.key == "libai"
    finish(driver)
    assert events_after(driver.state, driver.state.seq).open is None
