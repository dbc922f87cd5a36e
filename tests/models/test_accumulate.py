"""How deltas make an answer, and how pieces of tool calls find their call."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_activities.models.protocol import (
    Delta,
    Finished,
    Headers,
    ModelCall,
    ModelFault,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingDone,
    ToolCallDelta,
    UsageDelta,
)
from perdure_activities.models.stream.accumulate import Accumulated, Accumulator
from perdure_activities.models.stream.sse import SseReader
from perdure_activities.models.stream.tool_answer import ToolAnswer
from perdure_activities.models.stream.tool_slots import ToolSlots
from perdure_graph.models.messages import AnswerSchema, AssistantMessage, TextPart, ThinkingPart, ToolCall, user
from perdure_graph.models.usage import Tokens

CALL = ModelCall(model="m", messages=(user("hi"),))


def collect(*deltas: Delta, call: ModelCall = CALL, most: int = 1000) -> Accumulated:
    accumulator = Accumulator(call, "acme", most)
    for delta in deltas:
        accumulator.take(delta)
    return accumulator.accumulated()


def calls(*deltas: Delta, finish: Any = "tool_calls", call: ModelCall = CALL) -> list[tuple[str, str, str, str | None]]:
    found = collect(*deltas, Finished(finish), call=call).tool_calls
    return [(one.id, one.name, one.arguments, one.broken) for one in found]


def pieces(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut % (len(text) + 1) for cut in cuts})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(
    text=st.text(max_size=40),
    thinking=st.text(max_size=40),
    values=st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3), max_size=4),
    cuts=st.lists(st.integers(min_value=0, max_value=1000), max_size=8),
    data=st.data(),
)
def test_any_split_gives_the_same_answer(
    text: str, thinking: str, values: list[dict[str, Any]], cuts: list[int], data: st.DataObject
) -> None:
    arguments = [json.dumps(value) for value in values]
    part = ThinkingPart(provider="acme", text=thinking, signature="s")
    begun = [ToolCallDelta(n, f"id{n}", "f") for n in range(len(arguments))]
    end: tuple[Delta, ...] = (UsageDelta(Tokens(prompt=1)), Finished("tool_calls" if arguments else "stop", "m-1"))
    thought, said = ThinkingDelta(thinking), TextDelta(text)
    told = [ToolCallDelta(n, arguments=text) for n, text in enumerate(arguments)]
    whole = collect(thought, ThinkingDone(part), said, *begun, *told, *end, most=100_000)
    split: list[Delta] = [ThinkingDelta(piece) for piece in pieces(thinking, cuts)]
    split += [ThinkingDone(part), *(TextDelta(piece) for piece in pieces(text, cuts)), *begun]
    queues = [pieces(one, cuts) for one in arguments]
    # The calls' arguments come interleaved, each in its own order.
    while left := [n for n, queue in enumerate(queues) if queue]:
        n = data.draw(st.sampled_from(left))
        split.append(ToolCallDelta(n, arguments=queues[n].pop(0)))
    assert collect(*split, *end, most=100_000) == whole
    assert (whole.text, whole.reasoning, len(whole.tool_calls)) == (text, thinking, len(values))
    assert not any(call.broken for call in whole.tool_calls)


def test_an_answer_keeps_its_order_and_what_was_said_of_it() -> None:
    part = ThinkingPart(provider="acme", signature="s")
    told = Headers(request_id="r")
    answer = collect(
        told,
        ThinkingDone(part),
        TextDelta("a"),
        ToolCallDelta(0, "x", "f", "{}"),
        TextDelta("b"),
        UsageDelta(Tokens(prompt=1)),
        UsageDelta(Tokens(prompt=2)),
        Finished("stop", "m-1", simulated=True),
    )
    call = ToolCall(id="x", name="f", arguments="{}")
    assert answer.message == AssistantMessage(content=(part, TextPart(text="a"), call, TextPart(text="b")))
    assert (answer.text, answer.finish, answer.model, answer.simulated) == ("ab", "tool_calls", "m-1", True)
    assert (answer.tokens, answer.headers) == (Tokens(prompt=2), told)


def test_refusals_and_missing_ends() -> None:
    assert collect(RefusalDelta("no"), RefusalDelta("pe"), Finished("refusal")).refusal == "nope"
    assert collect(Finished("tool_calls")).finish == "stop"
    with pytest.raises(ModelFault) as broken:
        collect(TextDelta("half"))
    assert (broken.value.kind, broken.value.maybe_billed) == ("stream_broken", True)


def test_an_answer_that_is_too_long_is_stopped_while_it_comes() -> None:
    accumulator = Accumulator(CALL, "acme", 10)
    accumulator.take(TextDelta("12345"))
    accumulator.take(ThinkingDelta("éé"))
    with pytest.raises(ModelFault, match="10 bytes") as fault:
        accumulator.take(ToolCallDelta(0, arguments="xx"))
    assert fault.value.kind == "protocol_error"


@pytest.mark.parametrize(
    ("arguments", "broken"),
    [("", False), ("  ", False), ('{"a": 1}', False), ("[1]", True), ("7", True), ("{", True), ('{"a": NaN}', True),
     ('{"a":' + "[" * 100_000, True)],
)  # fmt: skip
def test_arguments_that_are_no_object_are_not_run(arguments: str, broken: bool) -> None:
    answer = Accumulator(CALL, "acme")
    answer.take(ToolCallDelta(0, "x", "f", arguments))
    answer.take(Finished("tool_calls"))
    [call] = answer.accumulated().tool_calls
    assert (call.broken is not None) is broken
    assert call.arguments == ((arguments.strip() and arguments) or "{}")


def test_what_a_limit_cut_off_is_not_run() -> None:
    found = calls(ToolCallDelta(0, "x", "f", "{}"), ToolCallDelta(1, "y", "g", ""), finish="length")
    assert [broken is not None for *_, broken in found] == [False, True]
    assert "limit of tokens" in str(found[1][3])


def test_forty_calls_are_sixteen() -> None:
    found = calls(*[ToolCallDelta(n, f"id{n}", "f", "{}") for n in range(40)])
    assert len(found) == 40
    assert [broken is None for *_, broken in found] == [True] * 16 + [False] * 24


def test_ids_are_unique_in_the_conversation_and_the_same_each_time() -> None:
    earlier = AssistantMessage(content=(ToolCall(id="call_0", name="f", arguments="{}"),))
    call = ModelCall(model="m", messages=(user("hi"), earlier))
    deltas = [ToolCallDelta(n, id_, "f", "{}") for n, id_ in enumerate(["a", "a", "", "call_0", "a_2_1"])]
    ids = [id_ for id_, *_ in calls(*deltas, call=call)]
    assert ids[0] == "a"
    assert len({*ids, "call_0"}) == 6
    assert ids == [id_ for id_, *_ in calls(*deltas, call=call)]
    assert ids[4] == "a_2_1", "an id that is given is never made up for another call"


def piece(arguments: str = "", **more: Any) -> dict[str, Any]:
    name = more.pop("name", None)
    return {**more, "function": {"arguments": arguments, **({"name": name} if name else {})}}


F, G = ("f", '{"a":1}'), ("g", '{"b":2}')


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        pytest.param([[piece(index=0, id="x", name="f")], [piece('{"a"', index=0)], [piece(":1}", index=0)],
                      [piece(index=1, id="y", name="g")], [piece('{"b":2}', index=1)]], [F, G], id="as the API does"),
        pytest.param([[piece(index=0, id="x", name="f"), piece(index=1, id="y", name="g")],
                      [piece('{"b"', index=1), piece('{"a"', index=0)],
                      [piece(":1}", index=0), piece(":2}", index=1)]], [F, G], id="interleaved"),
        pytest.param([[piece('{"a":1}', index=1, id="x", name="f")]], [F], id="first index 1"),
        pytest.param([[piece('{"a":1}', index=3, id="x", name="f")], [piece('{"b":2}', index=7, id="y", name="g")]],
                     [F, G], id="sparse"),
        pytest.param([[piece('{"a":1}', index=0, id="x", name="f")], [piece('{"b":2}', index=0, id="y", name="g")]],
                     [F, G], id="same index"),
        pytest.param([[piece('{"a"', index=0, id="x", name="f")], [piece(":1}", index=0, id="x", name="f")]],
                     [F], id="id and name repeated"),
        pytest.param([[piece('{"a"', index=0, id="x", name="f")], [piece(":1}", index=0, id="z")]],
                     [F], id="another id without a name"),
        pytest.param([[piece('{"a"', id="x", name="f")], [piece(":1}", id="x")], [piece('{"b":2}', id="y", name="g")]],
                     [F, G], id="no index"),
        pytest.param([[piece(id="x", name="f"), piece(id="y", name="g")],
                      [piece('{"a":1}', id="x"), piece('{"b":2}', id="y")]], [F, G], id="no index, by id"),
        pytest.param([[piece('{"a"', name="f")], [piece(":1}")], [piece('{"b":2}', name="g")]],
                     [F, G], id="neither index nor id"),
        pytest.param([[piece('{"a":1}', name="f"), piece('{"a":1}', name="f")], [piece('{"a":1}', name="f")]],
                     [F, F, F], id="the same call three times, no ids"),
        pytest.param([[piece(name="f"), piece(name="f")]], [("f", "{}"), ("f", "{}")], id="no arguments, no ids"),
        pytest.param([[piece('{"a"', index=0, name="f")], [piece(":1}", index=0, name="f")]],
                     [F], id="name repeated, no id"),
        pytest.param([[piece('{"a"', index=0, name="f")], [piece(":1}", index=0, id="x")]], [F], id="late id"),
        pytest.param([[{"index": 0, "id": "x", "function": {"name": "f", "arguments": {"a": 1}}}]],
                     [("f", '{"a": 1}')], id="arguments as an object"),
        pytest.param([[None, "odd", {"index": "0", "function": None}, piece('{"a":1}', index=True, name="f")], None,
                      "tools"], [F], id="odd types"),
    ],
)  # fmt: skip
def test_pieces_find_their_call(chunks: list[Any], expected: list[tuple[str, str]]) -> None:
    slots = ToolSlots()
    found = calls(*[delta for chunk in chunks for delta in slots.take(chunk)])
    assert [(name, arguments) for _, name, arguments, _ in found] == expected
    assert not any(broken for *_, broken in found)
    assert len({id_ for id_, *_ in found}) == len(expected)


def told(*deltas: Delta) -> list[Delta]:
    schema = AnswerSchema(schema={"type": "object"})
    answer = ToolAnswer(replace(CALL, answer=schema, answer_by="tool"))
    return [one for delta in deltas for one in answer.take(delta)]


def test_an_answer_by_tool_is_text_and_other_calls_stay() -> None:
    other = ToolCallDelta(1, "b", "f", "{}")
    assert told(
        TextDelta("Sure."), ToolCallDelta(0, "a", "answer"), ToolCallDelta(0, arguments="{}"), other,
        ToolCallDelta(2, "c", "answer", "{}"), Finished("tool_calls"),
    ) == [TextDelta("{}"), other, Finished("tool_calls")]  # fmt: skip
    assert told(TextDelta("{"), TextDelta("}"), Finished("stop")) == [TextDelta("{}"), Finished("stop")]


def test_a_second_call_of_the_answers_tool_does_not_count() -> None:
    assert told(
        ToolCallDelta(0, "a", "answer"), ToolCallDelta(1, "b", "answer", '{"n": 2}'),
        ToolCallDelta(0, arguments='{"n": 1}'), ToolCallDelta(1, arguments="{}"), Finished("tool_calls"),
    ) == [TextDelta('{"n": 1}'), Finished("stop")]  # fmt: skip


EVENTS = (
    ": hi\n\nid: 7\n\ndata: é🎉\n\nevent: x\ndata: 1\ndata:  2\n\n"
    "event: y\n\nretry: 5\ndata\n\ndata: [DONE]\n\ndata: rest"
)


@given(st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(min_value=0, max_value=1000), max_size=12))
def test_events_are_the_same_however_they_come(ending: str, cuts: list[int]) -> None:
    data = EVENTS.replace("\n", ending).encode()
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    reader = SseReader()
    found = [one for a, b in zip([0, *places], [*places, len(data)], strict=True) for one in reader.feed(data[a:b])]
    found += reader.end()
    assert [(one.name, one.data) for one in found] == [("", "é🎉"), ("x", "1\n 2"), ("", "[DONE]"), ("", "rest")]


def test_tokens_are_none_until_they_are_told() -> None:
    accumulator = Accumulator(CALL, "acme")
    accumulator.take(ThinkingDelta("hm"))
    accumulator.take(TextDelta("half an ans"))
    accumulator.take(ToolCallDelta(0, "x", "f", "{"))
    assert accumulator.tokens is None
    assert accumulator.said_so_far() == ("half an ansf{", "hm")
