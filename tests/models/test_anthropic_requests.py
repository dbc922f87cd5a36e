"""The request that a call becomes: a conversation in the shape that the Messages API insists on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from perdure_activities.models.anthropic_request import request_of
from perdure_activities.models.protocol import Endpoint, LoadedFile, ModelCall, ModelFault
from perdure_graph.models.messages import (
    AnswerSchema,
    AssistantMessage,
    FilePart,
    Message,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    UserMessage,
    assistant,
    user,
)

AT = Endpoint("main", "anthropic", "anthropic-messages", "http://x", "k", profile="anthropic")
ALL = frozenset(
    {
        "tool-call",
        "multi-tool-call",
        "structured-output",
        "sampling-params",
        "stop-words",
        "reasoning-effort",
        "thinking",
    }
    | {"adaptive-thinking", "prompt-cache", "strict-tools", "mid-system", "tool-choice", "vision", "document"}
)
TOOL = ToolSpec(
    name="look", description="Look.", parameters={"type": "object", "properties": {"at": {"type": "string"}}}
)


def body(*messages: Message, **changes: Any) -> dict[str, Any]:
    call = ModelCall(**{"model": "claude-x", "messages": messages or (user("Hi"),), "features": ALL, **changes})
    made = request_of(AT, call)
    check(made)
    return made


def check(made: dict[str, Any]) -> None:
    """Hold a request against the SDK's own types and the rules that the API has for conversations."""
    TypeAdapter(MessageCreateParamsNonStreaming).validate_python({k: v for k, v in made.items() if k != "extra_body"})
    turns = made["messages"]
    assert turns[0]["role"] == "user"
    assert all(turn["content"] for turn in turns)
    assert all(a["role"] != b["role"] for a, b in pairwise(turns))
    for turn, following in zip(turns, [*turns[1:], {"role": "", "content": []}], strict=True):
        calls = [block["id"] for block in turn["content"] if block["type"] == "tool_use"]
        results = [block["tool_use_id"] for block in following["content"][: len(calls)] if "tool_use_id" in block]
        assert results == calls
        for block in turn["content"]:
            assert block["type"] != "text" or block["text"].strip()
    ids = [block["id"] for turn in turns for block in turn["content"] if block["type"] == "tool_use"]
    assert len(ids) == len(set(ids))
    for turn in turns:
        kinds = [block["type"] == "tool_result" for block in turn["content"]]
        assert kinds == sorted(kinds, reverse=True), "results stand first"


def made_call(id_: str = "toolu_1", arguments: str = '{"at": "sea"}', name: str = "look") -> ToolCall:
    return ToolCall(id=id_, name=name, arguments=arguments)


def result(id_: str = "toolu_1", text: str = "waves", *, is_error: bool = False) -> ToolMessage:
    return ToolMessage(call_id=id_, name="look", content=(TextPart(text=text),) if text else (), is_error=is_error)


def test_system_messages_are_blocks_of_their_own() -> None:
    made = body(SystemMessage(text="Be kind."), SystemMessage(text=" "), user("Hi"), features=frozenset())
    assert made["system"] == [{"type": "text", "text": "Be kind."}]


def test_a_system_message_in_the_middle_stays_there_only_if_the_model_knows_such() -> None:
    messages = (user("a"), assistant("b"), SystemMessage(text="Now in French."), user("c"))
    assert [turn["role"] for turn in body(*messages)["messages"]] == ["user", "assistant", "system", "user"]
    hoisted = body(*messages, features=frozenset())
    assert hoisted["system"] == [{"type": "text", "text": "Now in French."}]
    assert [turn["role"] for turn in hoisted["messages"]] == ["user", "assistant", "user"]


def test_a_prompt_of_a_system_message_alone_is_sent() -> None:
    made = body(SystemMessage(text="Tell a joke."))
    assert made["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Tell a joke."}]}]
    assert "system" not in made


def test_messages_without_content_cannot_be_sent() -> None:
    with pytest.raises(ModelFault, match="nothing to send") as caught:
        body(user(" "))
    assert caught.value.kind == "bad_request"


def test_results_of_a_round_come_in_one_message_in_the_order_of_the_calls() -> None:
    thought = ThinkingPart(provider="anthropic", text="hm", signature="S")
    said = AssistantMessage(content=(thought, TextPart(text="I look."), made_call("a"), made_call("b"), made_call("c")))
    turns = body(user("?"), said, result("c"), result("a", "no", is_error=True), user("go on"))["messages"]
    assert [block["type"] for block in turns[1]["content"]] == ["thinking", "text"] + ["tool_use"] * 3
    first, second, third, text = turns[2]["content"]
    assert [first["tool_use_id"], second["tool_use_id"], third["tool_use_id"]] == ["a", "b", "c"]
    assert (first["is_error"], second["is_error"], "is_error" in third) == (True, True, False)
    assert text == {"type": "text", "text": "go on"}


def test_a_result_without_its_call_is_told_in_words() -> None:
    turns = body(result("lost", "waves"), user("and?"))["messages"]
    assert [block["text"] for block in turns[0]["content"]] == ["Result of the tool 'look':", "waves", "and?"]


def test_calls_of_another_provider_are_given_in_our_form() -> None:
    odd = "call|ä." + "x" * 200
    said = AssistantMessage(content=(made_call(odd), made_call("fc.1", arguments='{"a": [')))
    turns = body(user("?"), said, result(odd), result("fc.1"))["messages"]
    first, second = turns[1]["content"]
    assert len(first["id"]) <= 64
    assert (second["id"], second["input"]) == ("fc_1", {"unreadable": '{"a": ['})
    assert [block["tool_use_id"] for block in turns[2]["content"]] == [first["id"], "fc_1"]


def test_thinking_that_cannot_be_proven_is_left_out() -> None:
    said = AssistantMessage(
        content=(
            ThinkingPart(provider="openai", text="x", signature="S"),
            ThinkingPart(provider="anthropic", text="unsigned"),
            TextPart(text="4"),
        )
    )
    assert body(user("?"), said, user("!"))["messages"][1]["content"] == [{"type": "text", "text": "4"}]


def test_a_conversation_that_was_cut_begins_with_the_user() -> None:
    turns = body(assistant("as I said"), user("and?"))["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]


def test_an_answer_that_was_begun_is_continued_where_the_model_can() -> None:
    begun = (user("Haiku!"), assistant("Old pond \n"))
    assert body(*begun, features=frozenset({"prefill"}))["messages"][-1]["content"][-1]["text"] == "Old pond"
    assert body(*begun)["messages"][-1]["role"] == "user"


def test_tools() -> None:
    strict = replace_spec(TOOL, strict=True)
    made = body(tools=(TOOL, strict), tool_choice="required")
    plain, closed = made["tools"]
    assert plain["input_schema"] == TOOL.parameters
    assert "cache_control" not in plain
    assert (closed["strict"], closed["input_schema"]["additionalProperties"]) == (True, False)
    assert closed["cache_control"] == {"type": "ephemeral"}
    assert made["tool_choice"] == {"type": "any"}
    assert body(tools=(TOOL,), tool_choice="none")["tool_choice"] == {"type": "none"}
    unforced = body(tools=(TOOL,), tool_choice="required", features=frozenset({"tool-call"}))
    assert unforced["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert "cache_control" not in unforced["tools"][0]


def replace_spec(spec: ToolSpec, **changes: Any) -> ToolSpec:
    return spec.model_copy(update=changes)


def test_tools_called_before_are_named_although_none_is_offered() -> None:
    made = body(user("?"), AssistantMessage(content=(made_call(),)), result(), user("sum up"))
    assert [tool["name"] for tool in made["tools"]] == ["look"]
    assert made["tool_choice"] == {"type": "none"}


def test_sampling_goes_beside_the_sdk_and_only_where_the_model_takes_it() -> None:
    asked = {"temperature": 0, "top_p": 0.5, "top_k": None, "presence_penalty": 1}
    assert body(parameters=asked)["extra_body"] == {"temperature": 0, "top_p": 0.5}
    assert "extra_body" not in body(parameters=asked, features=ALL - {"sampling-params"})
    assert "extra_body" not in body(parameters={**asked, "thinking": {"type": "adaptive"}})


@pytest.mark.parametrize(
    ("asked", "features", "sent"),
    [
        ({}, ALL, None),
        ({"thinking": True}, ALL, {"type": "adaptive"}),
        ({"thinking": True}, ALL - {"adaptive-thinking"}, {"type": "enabled", "budget_tokens": 1024}),
        ({"thinking": True, "thinking_budget": 2048}, ALL, {"type": "enabled", "budget_tokens": 2048}),
        ({"thinking": True, "thinking_budget": 2048}, ALL - {"thinking"}, {"type": "adaptive"}),
        ({"thinking": False}, ALL, {"type": "disabled"}),
        ({"thinking": "false"}, ALL, {"type": "disabled"}),
        ({"thinking": "adaptive"}, ALL, {"type": "adaptive"}),
        ({"thinking": "nonsense"}, ALL, None),
        ({"thinking": '{"type": "enabled", "budget_tokens": 3000}'}, ALL, {"type": "enabled", "budget_tokens": 3000}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, ALL, {"type": "adaptive", "display": "omitted"}),
    ],
)
def test_thinking(asked: dict[str, Any], features: frozenset[str], sent: Any) -> None:
    assert body(parameters=asked, features=features).get("thinking") == sent


def test_max_tokens_is_always_there_and_leaves_room_to_answer() -> None:
    assert body()["max_tokens"] == 4096
    assert body(max_tokens=7)["max_tokens"] == 7
    assert body(parameters={"thinking": {"type": "enabled", "budget_tokens": 5000}})["max_tokens"] == 9096


def test_effort_stop_words_user_and_cache() -> None:
    made = body(
        SystemMessage(text="a"),
        SystemMessage(text="b"),
        user("c"),
        parameters={"effort": "high"},
        stop=("END", "\n"),
        user="u" * 300,
    )
    assert made["output_config"] == {"effort": "high"}
    assert made["stop_sequences"] == ["END"]
    assert made["metadata"] == {"user_id": "u" * 256}
    assert [("cache_control" in block) for block in made["system"]] == [False, True]
    assert "output_config" not in body(parameters={"effort": "high"}, features=frozenset())


SCHEMA = {"type": "object", "properties": {"a": {"type": "array[string]"}, "n": {"type": "integer", "minimum": 1}}}


def test_structured_output_natively() -> None:
    format_ = body(answer=AnswerSchema(schema=SCHEMA))["output_config"]["format"]
    assert format_["type"] == "json_schema"
    assert format_["schema"] == {
        "type": "object",
        "properties": {
            "a": {"type": "array", "items": {"type": "string"}},
            "n": {"type": "integer", "description": "minimum: 1"},
        },
        "required": [],
        "additionalProperties": False,
    }


def test_an_open_object_cannot_be_had_natively_so_it_is_asked_for_in_words() -> None:
    made = body(answer=AnswerSchema(schema={"type": "object"}))
    assert "output_config" not in made
    assert "JSON Schema" in made["system"][0]["text"]


def test_a_model_that_cannot_be_forced_is_told_in_words_too() -> None:
    asked: dict[str, Any] = {"answer": AnswerSchema(schema=SCHEMA), "answer_by": "tool"}
    for changes in ({"features": ALL - {"tool-choice"}}, {"parameters": {"thinking": True}}):
        made = body(**asked, **changes)
        assert made["tool_choice"] == {"type": "auto"}
        assert "JSON Schema" in made["system"][0]["text"]


def test_files() -> None:
    files = {
        "1": LoadedFile("image/png", b"PNG", name="a.png"),
        "2": LoadedFile("image/jpeg", url="https://x/b.jpg"),
        "3": LoadedFile("application/pdf", b"%PDF", name="c.pdf"),
        "4": LoadedFile("text/csv", b"a,b\n", name="d.csv"),
    }
    kinds = {"1": "image", "2": "image", "3": "document", "4": "document"}
    parts = tuple(FilePart.model_validate({"kind": kinds[id_], "file": {"id": id_}}) for id_ in files)
    made = body(UserMessage(content=parts), files=files)
    assert made["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "UE5H"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/b.jpg"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
            "title": "c.pdf",
        },
        {"type": "text", "text": "<file name='d.csv'>\na,b\n</file>"},
    ]
    with pytest.raises(ModelFault, match=r"'report.docx' is of the type 'application/msword'"):
        part = FilePart(kind="document", file={"id": "5", "filename": "report.docx"})
        body(UserMessage(content=(part,)), files={"5": LoadedFile("application/msword", b"x")})


def messages() -> Iterable[Message]:
    texts = st.sampled_from(["", " ", "x"])
    ids = st.sampled_from(["a", "b", "c"])
    calls = st.builds(made_call, ids, st.sampled_from(["{}", "[", ""]))
    thoughts = st.builds(
        ThinkingPart, provider=st.sampled_from(["anthropic", "o"]), signature=st.sampled_from(["", "S"])
    )
    parts = st.lists(st.one_of(st.builds(TextPart, text=texts), calls, thoughts), max_size=4)
    return st.one_of(
        st.builds(SystemMessage, text=texts),
        st.builds(user, texts),
        st.builds(lambda content: AssistantMessage(content=tuple(content)), parts),
        st.builds(result, ids, texts),
    )


@settings(deadline=None)
@given(st.lists(messages(), max_size=8), st.booleans())
def test_any_conversation_is_put_into_shape(found: list[Message], mid_system: bool) -> None:
    features = ALL if mid_system else ALL - {"mid-system"}
    call = ModelCall(model="claude-x", messages=tuple(found), features=features)
    try:
        made = request_of(AT, call)
    except ModelFault as fault:
        assert fault.kind == "bad_request"
        return
    check(made)
    assert made["messages"][-1]["role"] == "user"
    assert request_of(AT, replace(call)) == made, "pure"
    json.dumps(made)
