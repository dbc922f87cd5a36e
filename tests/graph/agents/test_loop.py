"""The loop of an agent, driven in memory."""

from __future__ import annotations

from typing import Any

import pytest
from graph.agents.looping import FEATURES, Run, bad, call, config, said, script, tool, written

from perdure_graph.agents import loop, observations
from perdure_graph.agents.config import AgentLimits, ToolUse
from perdure_graph.agents.effects import AgentAnswer, AskRound, RunAgent, RunTool, ToolResult
from perdure_graph.agents.loop_state import AgentState
from perdure_graph.agents.memory import are_paired
from perdure_graph.children import FlowAnswer, RunFlow
from perdure_graph.errors import NodeError
from perdure_graph.events import NEWS
from perdure_graph.graph import Document, NodeSpec
from perdure_graph.models.messages import AssistantMessage, ToolMessage, UserMessage, text_of
from perdure_graph.nodes.base import Failed

SEARCH, WRITE = tool("search"), tool("write", sequential=True)


def test_a_question_that_needs_no_tool_is_one_round() -> None:
    run = Run(config(), script(said("Four.")), [SEARCH])
    answer = run.answer()
    assert (answer.text, answer.end, answer.rounds, answer.calls) == ("Four.", "answer", 1, 0)
    assert [text_of(one) for one in run.last_thread] == ["What?"]
    [thought] = run.told("agent_thought")
    assert (thought["position"], thought["thought"], thought["answer"]) == (1, "", "Four.")


def test_calls_are_made_and_told_to_the_model_in_their_order() -> None:
    calls = [call("search", f"c{index}", q=index) for index in range(3)]
    run = Run(config(), script(said("I look.", *calls), said("Done.")), [SEARCH], pick=lambda n: n - 1)
    answer = run.answer()
    assert (answer.text, answer.rounds, answer.calls) == ("Done.", 2, 3)
    assert [one.call_id for one in run.last_thread if isinstance(one, ToolMessage)] == ["c0", "c1", "c2"]
    assert run.observations() == ["search {'q': 0}", "search {'q': 1}", "search {'q': 2}"]
    assert answer.usage.tokens.total == 22
    assert [one["position"] for one in run.told("agent_thought")] == [1, 1, 2]
    last = run.told("agent_thought")[1]
    assert [one["status"] for one in last["calls"]] == ["done"] * 3


def test_every_piece_of_news_makes_an_event() -> None:
    run = Run(config(), script(said("", call("search"), bad("x", "b")), said("Done.")), [SEARCH])
    run.answer()
    for one in run.news:
        NEWS[one.kind](seq=1, at=1, node_id="n", title="n", node_type="agent-loop", **one.fields)
    labels = [(one["label"], one["status"]) for one in run.told("agent_log")]
    assert labels[0] == ("ROUND 1", "start")
    assert ("CALL search", "start") in labels and ("CALL search", "success") in labels
    assert labels[-1] == ("ROUND 2", "success")


def test_no_more_calls_run_at_once_than_allowed() -> None:
    calls = [call("search", f"c{index}", q=index) for index in range(7)]
    run = Run(config(max_parallel_tools=3), script(said("", *calls), said("Done.")), [SEARCH])
    assert run.answer().calls == 7
    assert run.most_at_once == 3
    assert [one.call_id for one in run.ran if isinstance(one, RunTool)] == [f"c{index}" for index in range(7)]


def test_sequential_calls_run_alone_and_in_order() -> None:
    calls = [call("search", "a"), call("write", "b", n=1), call("write", "c", n=2), call("search", "d", z=1)]
    at_once: list[set[str]] = []

    def results(_effect: Any) -> ToolResult:
        assert run.state is not None
        at_once.append({one.id for one in run.state.calls if one.status == "running"})
        return ToolResult(text="ok")

    run = Run(config(), script(said("", *calls), said("Done.")), [SEARCH, WRITE], results)
    run.answer()
    assert at_once == [{"a"}, {"b"}, {"c"}, {"d"}]


def test_a_model_of_one_call_at_a_time_is_told_that_the_rest_was_dropped() -> None:
    calls = [call("search", "a"), call("search", "b", q=2)]
    run = Run(config(), script(said("", *calls), said("Done.")), [SEARCH], features=("tool-call",))
    assert run.answer().calls == 1
    assert "one call at a time" in run.observations()[1]
    assert are_paired(run.last_thread)


def test_unknown_tools_and_bad_arguments_are_observations() -> None:
    calls = [call("shell", "a", cmd="rm"), bad("search", "b", "no JSON at line 1")]
    run = Run(config(), script(said("", *calls), said("Done.")), [SEARCH])
    assert run.answer().text == "Done."
    assert not run.ran
    assert run.observations() == ["There is not a tool named 'shell'. Tools: search.", "no JSON at line 1"]
    assert [one["error_kind"] for one in run.told("agent_thought")[-2]["calls"]] == ["unknown_tool", "bad_arguments"]


def test_a_tool_that_fails_is_an_observation() -> None:
    replies = {
        "a": Failed("it broke", "ToolFailed"),
        "b": Failed("timed out", "EffectTimeout"),
        "c": ToolResult(text="no such page", error="no such page", error_kind="invoke"),
    }
    calls = [call("search", name, q=name) for name in replies]
    run = Run(config(), script(said("", *calls), said("Done.")), [SEARCH], lambda effect: replies[effect.call_id])
    assert run.answer().end == "tool_failures"
    thought = run.told("agent_thought")[1]
    assert [one["error_kind"] for one in thought["calls"]] == ["invoke", "timeout", "invoke"]
    assert all(one.is_error for one in run.last_thread if isinstance(one, ToolMessage))


def test_the_last_round_has_no_tools_and_its_calls_are_not_made() -> None:
    again = [said("Look.", call("search", f"c{number}", q=number)) for number in range(9)]
    run = Run(config(limits=AgentLimits(max_iteration=3)), script(*again), [SEARCH])
    answer = run.answer()
    assert (answer.end, answer.rounds, answer.calls, answer.text) == ("max_iterations", 4, 3, "Look.")
    assert [effect.closing for effect, _ in run.rounds] == [False, False, False, True]
    assert "limit of 3 rounds" in run.rounds[-1][0].note
    [limit] = run.told("agent_limit")
    assert (limit["reason"], limit["rounds"]) == ("max_iterations", 3)
    last = run.told("agent_thought")[-1]
    assert last["calls"][0]["error_kind"] == "not_run" and "limit of 3 rounds" in last["calls"][0]["observation"]


def test_a_last_round_that_says_nothing_is_an_apology() -> None:
    run = Run(config(limits=AgentLimits(max_iteration=1)), script(said("", call("search"))), [SEARCH])
    assert run.answer().text == observations.APOLOGY


def test_failures_in_a_row_close_the_run() -> None:
    rounds = [said("", call("search", f"c{number}", q=number)) for number in range(3)]
    run = Run(config(), script(*rounds, said("Sorry.")), [SEARCH], lambda _e: Failed("down", "ToolFailed"))
    answer = run.answer()
    assert (answer.end, answer.text, answer.rounds) == ("tool_failures", "Sorry.", 4)


def test_the_same_call_again_and_again_is_refused_then_closes_the_run() -> None:
    rounds = [said("", call("search", f"c{number}", q="x")) for number in range(4)]
    run = Run(config(), script(*rounds, said("Enough.")), [SEARCH], lambda _e: ToolResult(text="same"))
    answer = run.answer()
    assert (answer.end, answer.calls, answer.rounds) == ("repetition", 2, 5)
    assert "call number 3 in a row" in run.rounds[3][1][-1].content[0].text  # type: ignore[union-attr]


@pytest.mark.parametrize(("on", "end", "rounds"), [("nudge", "oscillation", 8), ("stop", "oscillation", 4)])
def test_going_in_circles(on: Any, end: str, rounds: int) -> None:
    turns = [said("", call("search", f"c{number}", q=number % 2)) for number in range(30)]
    limits = AgentLimits(max_iteration=30, cycles=2, on_oscillation=on)
    run = Run(config(limits=limits), script(*turns), [SEARCH], lambda effect: ToolResult(text=f"{effect.arguments}"))
    answer = run.answer()
    assert (answer.end, answer.rounds) == (end, rounds)
    assert "The last result was, from search: {'q': 1}" in answer.text
    nudges = [one for one in run.last_thread[1:] if isinstance(one, UserMessage)]
    assert len(nudges) == (1 if on == "nudge" else 0)
    assert {one["reason"] for one in run.told("agent_limit")} == {"oscillation"}


def test_a_window_that_is_full_closes_the_run() -> None:
    run = Run(config(), script(said("", call("search"), full=True), said("Short.")), [SEARCH])
    answer = run.answer()
    assert (answer.end, answer.text, answer.calls) == ("length", "Short.", 0)
    assert run.rounds[1][0].closing and are_paired(run.last_thread)


@pytest.mark.parametrize(
    ("reply", "end", "text"),
    [
        (said(""), "empty", ""),
        (said("So far", finish="length"), "length", "So far"),
        (said("", refusal="No.", finish="refusal"), "refused", "No."),
        (said("Bad", finish="content_filter"), "refused", "Bad"),
        (said("All of it", full=True), "answer", "All of it"),
    ],
)
def test_how_a_round_ends_the_run(reply: Any, end: str, text: str) -> None:
    answer = Run(config(), script(reply), [SEARCH]).answer()
    assert (answer.end, answer.text) == (end, text)


def test_a_model_that_fails_fails_the_agent_which_can_go_on_later() -> None:
    replies: list[Any] = [said("", call("search")), Failed("the key is wrong", "auth"), said("Done.")]
    run = Run(config(), lambda _effect, _thread: replies.pop(0), [SEARCH])
    with pytest.raises(NodeError, match="the key is wrong") as caught:
        run.answer()
    assert caught.value.error_type == "auth"
    assert run.state is not None
    move = loop.again(run.config, run.state)
    [(name, effect)] = move.perform
    assert name == "r2" and isinstance(effect, AskRound) and effect == run.rounds[-1][0]
    done = loop.came(run.config, move.state, name, said("Done."))
    assert done.answer is not None and done.answer.rounds == 2


def test_react_acts_on_actions_and_tells_what_could_not_be_read() -> None:
    texts = [
        'Thought: look\nAction: {"action": "search", "action_input": {"q": 1}}',
        'Action: {"action": "search"',
        "Thought: so\nFinal Answer: 4",
    ]
    run = Run(
        config(),
        lambda effect, _thread: written(texts[effect.round - 1], number=effect.round),
        [SEARCH],
        strategy="react",
    )
    answer = run.answer()
    assert (answer.text, answer.end, answer.rounds, answer.calls) == ("4", "answer", 3, 1)
    assert "could not be read" in text_of(run.last_thread[-1]) and isinstance(run.last_thread[-1], UserMessage)
    assert are_paired(run.last_thread)
    last = run.told("agent_thought")[-1]
    assert (last["thought"], last["answer"]) == ("so", "4")


def test_actions_that_cannot_be_read_count_as_failures() -> None:
    texts = ['Action: {"action": "search"' + " " * n for n in range(3)]
    run = Run(
        config(),
        lambda effect, _t: written((*texts, "Final Answer: no")[effect.round - 1], number=effect.round),
        [SEARCH],
        strategy="react",
    )
    assert run.answer().end == "tool_failures"


def test_agents_and_graphs_are_run_as_children() -> None:
    inner = config(name="inner", max_depth=5)
    agent = ToolUse(provider_type="agent", tool_name="helper", agent=inner, parameters={"tone": "kind"})
    start = NodeSpec(id="start", data={"type": "start", "title": "s"})
    flow = ToolUse(provider_type="workflow", tool_name="flow", flow=Document(nodes=(start,), edges=()))
    tools = [tool("helper", use=agent, runner="agent"), tool("flow", use=flow, runner="workflow")]

    def results(effect: Any) -> Any:
        if isinstance(effect, RunAgent):
            assert (effect.query, effect.inputs["tone"], effect.config.max_depth) == ("Help", "kind", 2)
            return AgentAnswer(text="half", end="max_iterations", usage=said("").usage)
        assert isinstance(effect, RunFlow) and effect.inputs == {"x": 1}
        return FlowAnswer(outputs={"n": 1, "é": "ü"})

    calls = [call("helper", "a", query="Help", tone="rude"), call("flow", "b", x=1)]
    run = Run(config(max_depth=3), script(said("", *calls), said("Done.")), tools, results)
    answer = run.answer()
    assert answer.usage.tokens.total == 33
    assert run.observations() == [
        "half\n\n(This agent ended without finishing: max_iterations.)",
        '{"n": 1, "é": "ü"}',
    ]


def test_a_child_that_would_lie_too_deep_is_no_failure() -> None:
    use = ToolUse(provider_type="agent", tool_name="helper", agent=config())
    tools = [tool("helper", use=use, runner="agent")]
    run = Run(
        config(), script(said("", call("helper")), said("Done.")), tools, lambda _e: Failed("too deep", "TooDeep")
    )
    answer = run.answer()
    assert (answer.text, answer.calls) == ("Done.", 0)
    assert run.told("agent_thought")[1]["calls"][0]["error_kind"] == "refused"


def test_files_of_tools_are_the_agents_and_images_go_to_a_model_that_sees() -> None:
    image = {"type": "image", "url": "https://example.com/a.png", "transfer_method": "remote_url"}
    results = lambda _e: ToolResult(text="drawn", files=(image,))  # noqa: E731
    run = Run(config(vision="low"), script(said("", call("search")), said("Done.")), [SEARCH], results)
    assert run.answer().files == (image,)
    [message] = [one for one in run.last_thread if isinstance(one, ToolMessage)]
    assert message.content[1].detail == "low"  # type: ignore[union-attr]


def test_what_the_store_has_is_not_held() -> None:
    big = "x" * 5_000
    rounds = [said("", call("search", f"c{number}", q=number)) for number in range(4)]
    run = Run(config(), script(*rounds, said("Done.")), [SEARCH], lambda _e: ToolResult(text=big), stores=lambda: True)
    run.answer()
    assert [effect.kept for effect, _ in run.rounds] == [1, 3, 5, 7, 9]
    assert all(not effect.fresh and effect.opening is None for effect, _ in run.rounds)
    assert run.observations() == [big] * 4
    assert run.state is not None and len(run.state.model_dump_json()) < 4_000


def test_a_result_that_the_store_has_behind_one_it_has_not() -> None:
    calls = [call("search", f"c{index}", q=index) for index in range(3)]
    results = lambda e: Failed("no", "X") if e.call_id == "c1" else ToolResult(text=f"{e.call_id} long enough")  # noqa: E731
    run = Run(config(), script(said("", *calls), said("Done.")), [SEARCH], results, stores=lambda: True)
    run.answer()
    effect = run.rounds[1][0]
    assert (effect.kept, [one is None for one in effect.fresh]) == (3, [False, True])
    assert run.observations() == ["c0 long enough", "tool invoke error: no", "c2 long enough"]


def test_repeated_ids_of_calls_are_told_apart() -> None:
    run = Run(config(), script(said("", call("search", "x", q=1), call("search", "x", q=2)), said("Done.")), [SEARCH])
    run.answer()
    assert len({one.call_id for one in run.ran if isinstance(one, RunTool)}) == 2


def test_nothing_is_taken_after_the_end() -> None:
    run = Run(config(), script(said("Four.")), features=FEATURES)
    run.answer()
    assert run.state is not None
    with pytest.raises(NodeError, match="has ended"):
        loop.came(run.config, AgentState.model_validate_json(run.state.model_dump_json()), "r1", said("x"))
    assert isinstance(said("x").message, AssistantMessage)
