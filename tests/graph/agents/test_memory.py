"""Memory of an agent: what stays when the window is full."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from perdure_graph.agents.memory import are_paired, history_budget, only_system, shorten_results, trim, turns
from perdure_graph.models.messages import (
    AssistantMessage,
    Message,
    SystemMessage,
    TextPart,
    ToolCall,
    ToolMessage,
    assistant,
    text_of,
    user,
)


def count(messages: Sequence[Message]) -> int:
    return sum(3 + len(text_of(message)) for message in messages)


def called(*ids: str) -> AssistantMessage:
    return AssistantMessage(content=tuple(ToolCall(id=each, name="t", arguments="{}") for each in ids))


def result(call: str, text: str = "done") -> ToolMessage:
    return ToolMessage(call_id=call, name="t", content=(TextPart(text=text),))


SYSTEM = SystemMessage(text="be kind")
OLD: list[Message] = [user("one"), called("a", "b"), result("a"), result("b"), assistant("two")]
NEW: list[Message] = [user("three"), called("c"), result("c")]


def test_all_stays_while_it_fits() -> None:
    everything = [SYSTEM, *OLD, *NEW]
    assert trim(everything, count(everything), count) == everything
    assert trim(everything, count(everything) - 1, count) == [SYSTEM, *NEW]


def test_the_newest_turns_stay_and_none_behind_a_gap() -> None:
    long, short = [user("x" * 100), assistant("y")], [user("k"), assistant("l")]
    everything = [SYSTEM, *short, *long, *short, *NEW]
    budget = count([SYSTEM, *short, *short, *NEW])
    assert trim(everything, budget, count) == [SYSTEM, *short, *NEW]


def test_the_current_turn_stays_whatever_it_takes() -> None:
    assert trim([SYSTEM, *OLD, *NEW], 0, count) == [SYSTEM, *NEW]
    going_on = [user("question"), assistant("Thought: x"), user("continue")]
    assert trim([SYSTEM, *OLD, *going_on], 0, count, since=1 + len(OLD)) == [SYSTEM, *going_on]


def test_budget_and_no_memory() -> None:
    assert history_budget(1000, 300, 200) == 500
    assert history_budget(1000, 900, 200) == 0
    assert only_system([SYSTEM, *OLD]) == [SYSTEM]


@st.composite
def transcripts(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = []
    number = 0
    for _ in range(draw(st.integers(0, 6))):
        if draw(st.booleans()):
            messages.append(SystemMessage(text=draw(st.text(max_size=20))))
        messages.append(user(draw(st.text(min_size=1, max_size=30))))
        for _ in range(draw(st.integers(0, 3))):
            ids = [f"c{number + index}" for index in range(draw(st.integers(1, 3)))]
            number += len(ids)
            messages += [called(*ids), *(result(each, draw(st.text(max_size=200))) for each in ids)]
        if draw(st.booleans()):
            messages.append(assistant(draw(st.text(min_size=1, max_size=30))))
    return messages


@given(transcripts(), st.integers(0, 600))
def test_trimming_keeps_pairs_order_system_and_the_end(messages: list[Message], budget: int) -> None:
    kept = trim(messages, budget, count)
    assert are_paired(messages) and are_paired(kept)
    assert only_system(kept) == only_system(messages)
    rest = [message for message in kept if message.role != "system"]
    others = [message for message in messages if message.role != "system"]
    assert rest == others[len(others) - len(rest) :]
    last = turns(messages)[-1] if others else []
    assert rest[len(rest) - len(last) :] == last
    assert count(kept) <= budget or rest == last


@given(transcripts(), st.integers(0, 600), st.integers(0, 60))
def test_results_are_cut_only_as_far_as_needed(messages: list[Message], budget: int, keep: int) -> None:
    short = shorten_results(messages, budget, count, keep=keep)
    assert are_paired(short) and len(short) == len(messages)
    changed = [index for index, pair in enumerate(zip(messages, short, strict=True)) if pair[0] != pair[1]]
    assert all(messages[index].role == "tool" and len(text_of(messages[index])) > keep for index in changed)
    assert count(short) <= count(messages)
    if changed:
        assert count([*short[: changed[-1]], *messages[changed[-1] :]]) > budget


def test_a_long_result_keeps_its_ends() -> None:
    long = result("c", "HEAD" + "x" * 5_000 + "TAIL")
    cut = text_of(shorten_results([user("q"), called("c"), long], 100, count, keep=100)[-1])
    assert cut.startswith("HEAD") and cut.endswith("TAIL") and "4908 characters" in cut
    assert len(cut) < 200


def test_pairs() -> None:
    assert not are_paired([called("a"), user("x"), result("a")])
    assert not are_paired([result("a")])
    assert not are_paired([called("a", "b"), result("a")])
