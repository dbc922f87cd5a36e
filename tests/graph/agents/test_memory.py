"""Memory of an agent: what stays when the window is full."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from perdure_graph.agents.memory import are_paired, newest, past_turn, shorten_results
from perdure_graph.models.messages import (
    AssistantMessage,
    FilePart,
    Message,
    TextPart,
    ToolCall,
    ToolMessage,
    UserMessage,
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


OLD: list[Message] = [user("one"), called("a", "b"), result("a"), result("b"), assistant("two")]


def calls_in(message: Message) -> list[str]:
    return [part.id for part in message.content if isinstance(part, ToolCall)] if message.role == "assistant" else []


def test_a_turn_is_told_with_its_calls() -> None:
    turn = past_turn("one", "two", OLD, "t")
    assert turn.brief == (user("one"), assistant("two"))
    asks, calls, *results, says = turn.whole
    assert (asks, says) == (OLD[0], OLD[-1])
    assert [one.call_id for one in results if isinstance(one, ToolMessage)] == calls_in(calls)
    # Models repeat their ids from turn to turn.
    assert not {*calls_in(calls)} & {"a", "b"}
    assert not {*calls_in(calls)} & {*calls_in(past_turn("one", "two", OLD, "u").whole[1])}


def test_a_turn_ends_with_what_the_user_saw() -> None:
    more = AssistantMessage(content=(TextPart(text="So: "), *called("b").content))
    whole = past_turn("one", "Stopped.", [user("one"), called("a"), result("a"), more], "t").whole
    assert [message.role for message in whole] == ["user", "assistant", "tool", "assistant"]
    assert text_of(whole[-1]) == "Stopped."
    assert past_turn("one", "two", [assistant("what?")], "t").whole == past_turn("one", "two").whole
    assert past_turn("", "").whole == (user(" "), assistant(" "))


def test_files_of_a_turn_are_told_by_marks() -> None:
    image = FilePart(kind="image", file={"type": "image", "url": "https://example.com/a.png"})
    asked = UserMessage(content=(TextPart(text="What is it?"), image))
    whole = past_turn("What is it?", "A cat.", [asked, assistant("A cat.")], "t").whole
    assert text_of(whole[0]) == "What is it?\n[image]"


def test_a_turn_that_does_not_fit_is_told_in_brief() -> None:
    long = past_turn("one", "two", [user("one"), called("a"), result("a", "x" * 1_000), assistant("two")], "t")
    short = past_turn("three", "four")
    assert newest([long, short], 2_000, count) == [long.whole, short.whole]
    assert newest([long, short], 500, count) == [long.brief, short.whole]
    assert newest([short, long], count(long.brief) + 1, count) == [long.brief]
    assert newest([long], 3, count) == []


@st.composite
def transcripts(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = []
    number = 0
    for _ in range(draw(st.integers(0, 6))):
        messages.append(user(draw(st.text(min_size=1, max_size=30))))
        for _ in range(draw(st.integers(0, 3))):
            ids = [f"c{number + index}" for index in range(draw(st.integers(1, 3)))]
            number += len(ids)
            messages += [called(*ids), *(result(each, draw(st.text(max_size=200))) for each in ids)]
        if draw(st.booleans()):
            messages.append(assistant(draw(st.text(min_size=1, max_size=30))))
    return messages


@given(transcripts(), st.data())
def test_calls_and_results_are_pairs_whatever_was_kept(messages: list[Message], data: st.DataObject) -> None:
    some = [message for message in messages if data.draw(st.integers(0, 3))]
    turn = past_turn("q", "a", some, "t")
    assert are_paired(turn.whole)
    assert (turn.whole[0].role, turn.whole[-1]) == ("user", assistant("a"))


@given(st.lists(transcripts(), max_size=5), st.integers(0, 900))
def test_the_newest_turns_stay_and_none_behind_a_gap(turns: list[list[Message]], budget: int) -> None:
    past = [past_turn(f"q{n}", f"a{n}", said, f"t{n}") for n, said in enumerate(turns)]
    kept = newest(past, budget, count)
    assert sum(map(count, kept)) <= budget
    behind = past[len(past) - len(kept) :]
    assert all(one in (turn.whole, turn.brief) for one, turn in zip(kept, behind, strict=True))
    if len(kept) < len(past):
        assert sum(map(count, kept)) + count(past[-len(kept) - 1].brief) > budget


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
