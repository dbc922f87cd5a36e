"""Responses over a real socket: what is sent, and what the answer becomes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.provider_bytes import answered, call, failed, provider, stream, whole
from perdure_activities.models.openai_responses import OpenAIResponses
from perdure_activities.models.protocol import LoadedFile, TextDelta, ToolCallDelta
from perdure_graph.models.messages import (
    AnswerSchema,
    AssistantMessage,
    FilePart,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolMessage,
    ToolSpec,
    user,
)
from perdure_graph.models.usage import Tokens

USED = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens": 6,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 15,
}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}],
    "encrypted_content": "c2VhbGVk",
}
CALLED = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": '{"x":1}'}
SAID = {"type": "message", "id": "m_1", "role": "assistant", "content": [{"type": "output_text", "text": "Hello"}]}


def ended(status: str = "completed", *output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"object": "response", "model": "m-1", "status": status, "output": list(output), "usage": USED, **more}


def incomplete(why: str) -> dict[str, Any]:
    return event("incomplete", response=ended("incomplete", incomplete_details={"reason": why}))


def event(name: str, place: int = 0, **more: Any) -> dict[str, Any]:
    return {"type": f"response.{name}", "output_index": place, **more}


HELLO = (
    event("created", response={"status": "in_progress"}),
    event("output_text.delta", delta="Hel"),
    event("a_kind_to_come", delta="?"),
    event("output_text.delta", delta="lo"),
    event("output_item.done", item=SAID),
    event("completed", response=ended("completed", SAID)),
)


@pytest.fixture
async def adapter() -> AsyncIterator[OpenAIResponses]:
    made = OpenAIResponses()
    yield made
    await made.close()


async def test_an_answer_streams_with_its_usage(adapter: OpenAIResponses) -> None:
    async with provider(stream(*HELLO, done=False)) as served:
        answer, deltas = await answered(adapter, served.endpoint("openai-responses"), call(max_tokens=50))
        await answered(adapter, served.endpoint("openai-responses"), call())
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["Hel", "lo"]
    assert (answer.text, answer.finish, answer.model) == ("Hello", "stop", "m-1")
    assert answer.tokens == Tokens(prompt=9, completion=6, cache_read=4, cache_write=1, reasoning=3)
    body = served.body(0)
    assert (body["store"], body["include"]) == (False, ["reasoning.encrypted_content"])
    assert body["max_output_tokens"] == 50
    assert served.requests[0].target == "/v1/responses"
    assert served.connections == 1, "the connection is used again"


async def test_thinking_and_calls_come_and_go_back_in_order(adapter: OpenAIResponses) -> None:
    events = (
        event("reasoning_summary_text.delta", delta="one", summary_index=0),
        event("reasoning_summary_part.added", summary_index=1),
        event("reasoning_summary_text.delta", delta="two", summary_index=1),
        event("output_item.done", item=THOUGHT),
        event("output_item.added", 1, item={**CALLED, "arguments": ""}),
        event("output_item.added", 2, item={**CALLED, "id": "fc_2", "call_id": "call_2", "arguments": ""}),
        event("function_call_arguments.delta", 2, delta='{"y"'),
        event("function_call_arguments.delta", 1, delta='{"x":1}'),
        event("function_call_arguments.delta", 2, delta=":2}"),
        event("function_call_arguments.done", 2, arguments='{"y":2}'),
        event("output_item.done", 1, item=CALLED),
        event("completed", response=ended("completed", THOUGHT, CALLED, {**CALLED, "call_id": "call_2"})),
    )
    tools = (ToolSpec(name="f", description="F", parameters={"type": "object"}),)
    async with provider(stream(*events, done=False), stream(*HELLO, done=False)) as served:
        endpoint = served.endpoint("openai-responses", profile="openai")
        answer, _ = await answered(adapter, endpoint, call(tools=tools))
        results = (
            ToolMessage(call_id="call_1", name="f", content=(TextPart(text="1"),)),
            ToolMessage(
                call_id="call_2",
                name="f",
                content=(TextPart(text="see"), FilePart(kind="image", file={"id": "p"})),
            ),
        )
        messages = (SystemMessage(text="Be brief."), user("hi"), answer.message, *results)
        files = {"p": LoadedFile("image/png", b"\x89PNG")}
        await answered(adapter, endpoint, call(messages=messages, tools=tools, files=files, cache_key="k"))
    assert answer.reasoning == "one\n\ntwo"
    assert answer.finish == "tool_calls"
    thought = ThinkingPart(provider="acme", text="one\n\ntwo", data="c2VhbGVk", id="rs_1")
    calls = (ToolCall(id="call_1", name="f", arguments='{"x":1}'), ToolCall(id="call_2", name="f", arguments='{"y":2}'))
    assert answer.message.content == (thought, *calls)
    body = served.body(1)
    assert body["tools"] == [
        {"type": "function", "name": "f", "description": "F", "parameters": {"type": "object"}, "strict": False}
    ]
    assert body["prompt_cache_key"] == "k"
    system, asked, reasoning, first, second, one, two = body["input"]
    assert (system["role"], asked["content"]) == ("system", [{"type": "input_text", "text": "hi"}])
    assert (reasoning["id"], reasoning["encrypted_content"]) == ("rs_1", "c2VhbGVk")
    assert (first["call_id"], second["call_id"]) == ("call_1", "call_2")
    assert one == {"type": "function_call_output", "call_id": "call_1", "output": "1"}
    assert [part["type"] for part in two["output"]] == ["input_text", "input_image"]


async def test_thinking_of_another_provider_is_left_out(adapter: OpenAIResponses) -> None:
    said = AssistantMessage(content=(ThinkingPart(provider="other", data="x", id="rs"), TextPart(text="ok")))
    async with provider(stream(*HELLO, done=False)) as served:
        await answered(adapter, served.endpoint("openai-responses"), call(messages=(user("a"), said, user("b"))))
    assert [item.get("role") for item in served.body()["input"]] == ["user", "assistant", "user"]


async def test_a_reply_in_one_piece_is_read_as_one(adapter: OpenAIResponses) -> None:
    async with provider(whole(ended("completed", THOUGHT, SAID, CALLED, error=None))) as served:
        answer, _ = await answered(adapter, served.endpoint("openai-responses"), call())
    assert (answer.text, answer.reasoning, answer.finish) == ("Hello", "one\n\ntwo", "tool_calls")
    assert answer.tool_calls == (ToolCall(id="call_1", name="f", arguments='{"x":1}'),)


@pytest.mark.parametrize(
    ("end", "finish"),
    [
        (incomplete("max_output_tokens"), "length"),
        (incomplete("content_filter"), "content_filter"),
    ],
)
async def test_answers_that_are_cut(adapter: OpenAIResponses, end: dict[str, Any], finish: str) -> None:
    async with provider(stream(event("output_text.delta", delta="Hel"), end, done=False)) as served:
        answer, _ = await answered(adapter, served.endpoint("openai-responses"), call())
    assert (answer.text, answer.finish) == ("Hel", finish)


async def test_a_refusal_is_an_answer(adapter: OpenAIResponses) -> None:
    refused = {"type": "message", "content": [{"type": "refusal", "refusal": "I won't"}]}
    streamed = stream(event("refusal.delta", delta="I won't"), event("completed", response=ended("completed", refused)))
    async with provider(streamed, whole(ended("completed", refused))) as served:
        first, _ = await answered(adapter, served.endpoint("openai-responses"), call())
        second, _ = await answered(adapter, served.endpoint("openai-responses"), call())
    assert (first.refusal, first.finish) == (second.refusal, second.finish) == ("I won't", "refusal")


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        ((), "stream_broken"),
        ((event("failed", response=ended("failed", error={"code": "server_error", "message": "x"})),), "server_error"),
        ((event("failed", response=ended("failed", error={"code": "rate_limit_exceeded", "message": "x"})),),
         "rate_limited"),
        (({"type": "error", "code": "server_error", "message": "x", "param": None},), "server_error"),
        (({"type": "error", "error": {"type": "invalid_request_error", "code": "context_length_exceeded",
                                      "message": "x"}},), "context_overflow"),
    ],
)  # fmt: skip
async def test_answers_that_fail(adapter: OpenAIResponses, last: tuple[Any, ...], kind: str) -> None:
    async with provider(stream(event("output_text.delta", delta="Hel"), *last, done=False)) as served:
        fault, deltas = await failed(adapter, served.endpoint("openai-responses"), call())
    assert (fault.kind, fault.maybe_billed) == (kind, True)
    assert TextDelta("Hel") in deltas


async def test_structured_output_and_parameters(adapter: OpenAIResponses) -> None:
    schema = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    parameters: dict[str, Any] = {
        "reasoning_effort": "low",
        "reasoning_summary": "auto",
        "verbosity": "low",
        "seed": 1,
        "service_tier": "flex",
        "parallel_tool_calls": True,
    }
    begun = event("output_item.added", item={"type": "function_call", "call_id": "c", "name": "answer"})
    forced = stream(begun, event("function_call_arguments.delta", delta="{}"), event("completed", response=ended()))
    answer = AnswerSchema(schema=schema)
    async with provider(stream(*HELLO, done=False), forced) as served:
        endpoint = served.endpoint("openai-responses")
        await answered(adapter, endpoint, call(answer=answer, parameters=parameters))
        told, deltas = await answered(adapter, endpoint, call(answer=answer, answer_by="tool", features={"vision"}))
    body = served.body(0)
    assert body["text"] == {
        "format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True},
        "verbosity": "low",
    }
    assert body["reasoning"] == {"effort": "low", "summary": "auto"}
    assert body["service_tier"] == "flex"
    assert not {"seed", "verbosity", "reasoning_effort", "reasoning_summary", "parallel_tool_calls"} & set(body)
    assert served.body(1)["tool_choice"] == {"type": "function", "name": "answer"}
    assert "include" not in served.body(1)
    assert (told.text, told.finish, told.tool_calls) == ("{}", "stop", ())
    assert not any(isinstance(delta, ToolCallDelta) for delta in deltas)
