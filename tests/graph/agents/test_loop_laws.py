"""What holds for every agent, whatever its model, its tools, its store and its people do, in whatever order."""

from __future__ import annotations

from typing import Any

from graph.agents.looping import Run, approve, bad, call, config, said, tool, written
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure_graph.agents.config import AgentLimits, ApprovalPolicy
from perdure_graph.agents.effects import RoundAnswer, RunTool, ToolResult
from perdure_graph.agents.memory import are_paired
from perdure_graph.models.messages import Message
from perdure_graph.nodes.base import Failed, FormReply

TOOLS = [
    tool("look"),
    tool("write", sequential=True),
    tool("pay", approval="required"),
    tool("send", retry="never", sequential=True, approval="policy"),
]
NAMES = [one.name for one in TOOLS]

_calls = st.lists(
    st.tuples(st.sampled_from([*NAMES, "outside", "broken"]), st.integers(0, 2)),
    max_size=5,
)
_rounds = st.lists(st.tuples(st.sampled_from(["", "Hm."]), _calls, st.sampled_from([False] * 9 + [True])), max_size=8)
_limits = st.builds(
    AgentLimits,
    max_iteration=st.integers(1, 5),
    max_tool_failures=st.integers(0, 6),
    max_tool_failures_in_row=st.integers(0, 4),
    repeats=st.sampled_from([0, 2, 3]),
    cycles=st.sampled_from([0, 2]),
    on_oscillation=st.sampled_from(["nudge", "ask", "stop"]),
)
_configs = st.builds(
    config,
    limits=_limits,
    max_parallel_tools=st.integers(1, 3),
    approval=st.builds(ApprovalPolicy, on_timeout=st.sampled_from(["deny", "approve"])),
)


def model_of(rounds: list[Any]) -> Any:
    def model(effect: Any, _thread: list[Message]) -> RoundAnswer:
        if effect.round > len(rounds):
            return said("The end.")
        text, calls, full = rounds[effect.round - 1]
        made = [
            bad("look", f"c{effect.round}.{index}")
            if name == "broken"
            else call(name, f"c{effect.round}.{index}", n=number)
            for index, (name, number) in enumerate(calls)
        ]
        return said(text, *made, full=full)

    return model


def result_of(effect: RunTool) -> Any:
    """The same for the same call, so that only the order differs."""
    number = effect.arguments["n"]
    if number == 2 and effect.name == "send":
        return Failed("lost", "Interrupted", interrupted=True)
    return Failed("no", "ToolFailed") if number == 2 else ToolResult(text=f"{effect.name} {number}" * 400)


def person(name: str, form: Any) -> FormReply:
    """The same for the same form."""
    actions = [one.id for one in form.actions]
    if name.startswith("a"):
        return FormReply(action=None) if name.endswith("1") else approve(name, form)
    return FormReply(action=actions[len(name) % len(actions)])


def runs(given_config: Any, rounds: Any, data: Any, **fields: Any) -> Run:
    return Run(
        given_config,
        model_of(rounds),
        TOOLS,
        result_of,
        person=person,
        pick=lambda n: data.draw(st.integers(0, n - 1)),
        stores=lambda: data.draw(st.booleans()),
        **fields,
    )


@settings(max_examples=150, deadline=None)
@given(_configs, _rounds, st.data())
def test_order_store_and_trips_through_json_change_nothing(given_config: Any, rounds: Any, data: Any) -> None:
    plain = Run(given_config, model_of(rounds), TOOLS, result_of, person=person)
    expected = plain.answer()
    other = runs(given_config, rounds, data, trips=True)
    assert other.answer() == expected
    assert [thread for _, thread in other.rounds] == [thread for _, thread in plain.rounds]
    assert other.told("agent_thought")[-1] == plain.told("agent_thought")[-1]
    assert sorted(map(str, other.ran)) == sorted(map(str, plain.ran))


@settings(max_examples=150, deadline=None)
@given(_configs, _rounds, st.data(), st.booleans())
def test_bounds_and_pairs(given_config: Any, rounds: Any, data: Any, alone: bool) -> None:
    features = ("tool-call",) if alone else ("tool-call", "multi-tool-call")
    run = runs(given_config, rounds, data, features=features)
    answer = run.answer()
    most = given_config.limits.max_iteration
    assert answer.rounds == len(run.rounds) <= most + 1
    assert sum(not effect.closing for effect, _ in run.rounds) <= most
    assert [effect.round for effect, _ in run.rounds] == list(range(1, answer.rounds + 1))
    assert all(not effect.closing for effect, _ in run.rounds[:-1])
    assert all(are_paired(thread) for _, thread in run.rounds)
    assert run.most_at_once <= given_config.max_parallel_tools
    assert answer.usage.tokens.total == 11 * answer.rounds
    made = [one for one in run.ran if isinstance(one, RunTool)]
    assert {one.name for one in made} <= set(NAMES)
    closing = run.rounds[-1][0].round if run.rounds[-1][0].closing else 99
    asked_in = [int(one.call_id[1:].split(".")[0]) for one in made]
    assert all(number < closing for number in asked_in)
    if alone:
        assert len({*asked_in}) == len({one.call_id for one in made})
    # One thread only grows: each round begins with the one before it.
    for (_, before), (_, after) in zip(run.rounds, run.rounds[1:], strict=False):
        assert after[: len(before)] == before


_words = st.sampled_from(
    [
        'Thought: a\nAction: {"action": "look", "action_input": {"n": 1}}',
        'Action: {"action": "outside", "action_input": {}}',
        'Action: {"action": "look"',
        "Final Answer: so",
        "just text",
        "",
    ]
)


@settings(max_examples=100, deadline=None)
@given(_configs, st.lists(_words, min_size=1, max_size=7), st.data())
def test_react_keeps_the_same_laws(given_config: Any, texts: list[str], data: Any) -> None:
    def model(effect: Any, _thread: Any) -> RoundAnswer:
        return written(texts[min(effect.round, len(texts)) - 1], number=effect.round)

    run = Run(
        given_config,
        model,
        TOOLS,
        lambda effect: ToolResult(text=f"{effect.arguments}"),
        stores=lambda: data.draw(st.booleans()),
        strategy="react",
        trips=True,
    )
    answer = run.answer()
    assert answer.rounds <= given_config.limits.max_iteration + 1
    assert all(are_paired(thread) for _, thread in run.rounds)
    assert {one.name for one in run.ran if isinstance(one, RunTool)} <= {"look"}
