"""The Anthropic wire against a real socket: what a reply becomes, however its bytes come or fail to come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from fakes.messages_server import USAGE, MessagesServer, Sent, block, call, message, messages_server, sse, text
from perdure_activities.models.anthropic_messages import AnthropicMessages
from perdure_activities.models.protocol import (
    Delta,
    Endpoint,
    Finished,
    Headers,
    ModelCall,
    ModelFault,
    RefusalDelta,
    TextDelta,
    ThinkingDone,
    ToolCallDelta,
    UsageDelta,
)
from perdure_activities.models.stream.accumulate import Accumulated, Accumulator
from perdure_graph.models.messages import AnswerSchema, SystemMessage, ThinkingPart, ToolSpec, user
from perdure_graph.models.usage import Tokens

KEY = "sk-canary-0123456789"
HELLO = sse(message(text(0, "Grüße, ", "世界 🎉")))
ASK = ModelCall(model="claude-x", messages=(user("Hi"),), features=frozenset({"tool-call", "tool-choice"}))


@pytest.fixture
async def adapter() -> AsyncIterator[AnthropicMessages]:
    adapter = AnthropicMessages()
    yield adapter
    await adapter.close()


def endpoint(server: MessagesServer, **changes: Any) -> Endpoint:
    values: dict[str, Any] = {
        "deployment": "main",
        "provider": "anthropic",
        "wire": "anthropic-messages",
        "base_url": server.url,
        "api_key": KEY,
        "profile": "anthropic",
        "connect_s": 2.0,
        "first_token_s": 2.0,
        "between_s": 2.0,
        "allow_private": True,
    }
    return Endpoint(**{**values, **changes})


async def hear(adapter: AnthropicMessages, at: Endpoint, asked: ModelCall = ASK) -> tuple[list[Delta], Accumulated]:
    heard, whole = [], Accumulator(asked, at.provider)
    async with aclosing(adapter.stream(at, asked)) as deltas:
        async for delta in deltas:
            heard.append(delta)
            whole.take(delta)
    return heard, whole.accumulated()


async def fault(adapter: AnthropicMessages, at: Endpoint, asked: ModelCall = ASK) -> ModelFault:
    with pytest.raises(ModelFault) as caught:
        await hear(adapter, at, asked)
    assert KEY not in f"{caught.value!r} {caught.value}"
    return caught.value


async def test_a_reply_of_text(adapter: AnthropicMessages) -> None:
    limits = {"request-id": "req_9", "anthropic-ratelimit-requests-remaining": "41", "x-perdure-simulated": "1"}
    async with messages_server(Sent(HELLO, headers=limits)) as server:
        heard, answer = await hear(adapter, endpoint(server))
    assert (answer.text, answer.finish, answer.model) == ("Grüße, 世界 🎉", "stop", "claude-x")
    assert answer.tokens == Tokens(prompt=15, completion=7, cache_read=3, cache_write=2, reasoning=4)
    assert isinstance(heard[0], Headers)
    assert (heard[0].request_id, heard[0].remaining_requests) == ("req_9", 41)
    assert heard[-1] == Finished("stop", model="claude-x", simulated=True)
    request = server.requests[0]
    assert (request.method, request.target) == ("POST", "/v1/messages")
    assert request.header("authorization") == f"Bearer {KEY}"
    assert request.header("anthropic-version")
    assert server.bodies[0] == {
        "model": "claude-x",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "stream": True,
    }


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Sent(HELLO, cut=1), id="byte-by-byte"),
        pytest.param(Sent(sse(message(text(0, "Grüße, ", "世界 🎉")), end="\r\n"), cut=3), id="crlf"),
        pytest.param(Sent(b": hello\n\n" + HELLO), id="comment"),
        pytest.param(Sent(sse(message(text(0, "Grüße, ", "世界 🎉")), named=False)), id="no-event-lines"),
        pytest.param(
            Sent(
                sse([{"type": "brand_new", "index": 0}, *message(block(0, {"type": "odd"}), text(1, "Grüße, 世界 🎉"))])
            ),
            id="unknown-event-and-block",
        ),
        pytest.param(
            Sent(
                json.dumps(
                    {
                        "type": "message",
                        "model": "claude-x",
                        "content": [{"type": "text", "text": "Grüße, 世界 🎉"}],
                        "stop_reason": "end_turn",
                        "usage": {**USAGE, "output_tokens": 7},
                    }
                ).encode(),
                headers={"content-type": "application/json"},
            ),
            id="plain-json",
        ),
    ],
)
async def test_the_same_text_however_it_is_sent(adapter: AnthropicMessages, reply: Sent) -> None:
    async with messages_server(reply) as server:
        _, answer = await hear(adapter, endpoint(server))
    assert answer.text == "Grüße, 世界 🎉"
    assert answer.tokens is not None
    assert answer.tokens.prompt == 15


async def test_connections_are_used_again(adapter: AnthropicMessages) -> None:
    async with messages_server(Sent(HELLO)) as server:
        for _ in range(3):
            await hear(adapter, endpoint(server))
        assert (len(server.requests), server.connections) == (3, 1)


async def test_thinking_keeps_its_signature_and_what_is_encrypted(adapter: AnthropicMessages) -> None:
    thought = [{"type": "thinking_delta", "thinking": "Let me "}, {"type": "thinking_delta", "thinking": "see."}]
    # Whole each time it comes: the last one counts, they are not joined.
    signed = [{"type": "signature_delta", "signature": "old"}, {"type": "signature_delta", "signature": "SIG="}]
    reply = message(
        block(0, {"type": "thinking", "thinking": "", "signature": ""}, *thought, *signed),
        block(1, {"type": "redacted_thinking", "data": "ENC="}),
        text(2, "4"),
    )
    async with messages_server(Sent(sse(reply))) as server:
        _, answer = await hear(adapter, endpoint(server))
        assert (answer.reasoning, answer.text) == ("Let me see.", "4")
        assert answer.message.content[:2] == (
            ThinkingPart(provider="anthropic", text="Let me see.", signature="SIG="),
            ThinkingPart(provider="anthropic", data="ENC="),
        )
        again = replace(ASK, messages=(user("2+2?"), answer.message, user("sure?")))
        await hear(adapter, endpoint(server), again)
        await hear(adapter, endpoint(server, provider="gateway"), again)
    given_back = server.bodies[1]["messages"][1]["content"]
    assert given_back == [
        {"type": "thinking", "thinking": "Let me see.", "signature": "SIG="},
        {"type": "redacted_thinking", "data": "ENC="},
        {"type": "text", "text": "4"},
    ]
    assert server.bodies[2]["messages"][1]["content"] == [{"type": "text", "text": "4"}]


async def test_calls_of_tools(adapter: AnthropicMessages) -> None:
    reply = message(
        text(0, "I look."),
        call(1, "weather", '{"city": "Os', 'lo"}', id_="toolu_1"),
        call(2, "clock", id_="toolu_2"),
        call(3, "broken", '{"a": ', id_="toolu_3"),
        block(4, {"type": "tool_use", "id": "toolu_4", "name": "whole", "input": {"b": 1}}),
        stop="tool_use",
    )
    async with messages_server(Sent(sse(reply))) as server:
        _, answer = await hear(adapter, endpoint(server))
    assert answer.finish == "tool_calls"
    calls = [(made.id, made.name, made.arguments, made.broken is None) for made in answer.tool_calls]
    assert calls == [
        ("toolu_1", "weather", '{"city": "Oslo"}', True),
        ("toolu_2", "clock", "{}", True),
        ("toolu_3", "broken", '{"a": ', False),
        ("toolu_4", "whole", '{"b": 1}', True),
    ]


async def test_a_call_that_the_limit_cut_off_is_not_to_be_made(adapter: AnthropicMessages) -> None:
    for pieces in ((), ('{"path": "/tm',)):
        async with messages_server(Sent(sse(message(call(0, "delete", *pieces), stop="max_tokens")))) as server:
            _, answer = await hear(adapter, endpoint(server))
        assert answer.finish == "length"
        assert answer.tool_calls[0].broken is not None


@pytest.mark.parametrize(
    ("stop", "finish"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("new_word", "stop"), (None, "stop")],
)
async def test_reasons_to_stop(adapter: AnthropicMessages, stop: str | None, finish: str) -> None:
    async with messages_server(Sent(sse(message(text(0, "a"), stop=stop)))) as server:
        _, answer = await hear(adapter, endpoint(server))
    assert answer.finish == finish


async def test_a_refusal_is_an_answer(adapter: AnthropicMessages) -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "That could do harm."}
    async with messages_server(Sent(sse(message(stop="refusal", stop_details=details)))) as server:
        heard, answer = await hear(adapter, endpoint(server))
    assert RefusalDelta("That could do harm.") in heard
    assert (answer.finish, answer.refusal, answer.text) == ("refusal", "That could do harm.", "")


async def test_a_full_context_window(adapter: AnthropicMessages) -> None:
    stop = "model_context_window_exceeded"
    async with messages_server(Sent(sse(message(stop=stop)))) as server:
        assert (await fault(adapter, endpoint(server))).kind == "context_overflow"
    async with messages_server(Sent(sse(message(text(0, "Once upon"), stop=stop)))) as server:
        _, answer = await hear(adapter, endpoint(server))
    assert (answer.text, answer.finish) == ("Once upon", "length")


async def test_a_paused_reply_is_sent_back_until_it_is_done(adapter: AnthropicMessages) -> None:
    search = block(
        1,
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"query": "x"}'},
    )
    first = Sent(sse(message(text(0, "I look. "), search, stop="pause_turn")))
    second = Sent(sse(message(call(0, "note", "{}"), stop="tool_use")))
    async with messages_server(first, second) as server:
        heard, answer = await hear(adapter, endpoint(server))
    assert (answer.text, answer.finish) == ("I look. ", "tool_calls")
    assert answer.tokens == Tokens(prompt=30, completion=14, cache_read=6, cache_write=4, reasoning=8)
    assert sum(isinstance(delta, Headers) for delta in heard) == 1
    assert server.bodies[1]["messages"][-1] == {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "I look. "},
            {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
        ],
    }


async def test_a_reply_that_stays_paused_is_given_up(adapter: AnthropicMessages) -> None:
    async with messages_server(Sent(sse(message(text(0, "."), stop="pause_turn")))) as server:
        _, answer = await hear(adapter, endpoint(server))
    assert (answer.text, answer.finish, len(server.requests)) == ("......", "length", 6)


async def test_usage_is_that_of_the_last_count(adapter: AnthropicMessages) -> None:
    events = message(text(0, "a"))
    extra = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5, "input_tokens": 11}}
    async with messages_server(Sent(sse([*events[:-2], extra, *events[-2:]]))) as server:
        heard, answer = await hear(adapter, endpoint(server))
    assert sum(isinstance(delta, UsageDelta) for delta in heard) == 3
    assert answer.tokens is not None
    assert (answer.tokens.prompt, answer.tokens.completion) == (16, 7)


async def test_no_usage_is_not_nothing_used(adapter: AnthropicMessages) -> None:
    zero = {"input_tokens": 0, "output_tokens": 0}
    for usage in (None, {}, zero):
        events = message(text(0, "a"))
        events[0]["message"] = {**events[0]["message"], "usage": usage}
        events[-2]["usage"] = usage
        async with messages_server(Sent(sse(events))) as server:
            _, answer = await hear(adapter, endpoint(server))
        assert answer.tokens is None


async def test_half_of_a_surrogate_pair_is_replaced(adapter: AnthropicMessages) -> None:
    body = HELLO.replace("Grüße, ".encode(), rb"a\ud83d")
    async with messages_server(Sent(body)) as server:
        _, answer = await hear(adapter, endpoint(server))
    assert answer.text == "a\ufffd世界 🎉"


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


async def test_a_forced_tool_gives_its_arguments_as_the_text(adapter: AnthropicMessages) -> None:
    asked = replace(ASK, answer=AnswerSchema(name="the place", schema=SCHEMA), answer_by="tool")
    reply = message(text(0, "Sure:"), call(1, "the_place", '{"city": ', '"Oslo"}'), stop="tool_use")
    async with messages_server(Sent(sse(reply))) as server:
        heard, answer = await hear(adapter, endpoint(server), asked)
    assert (answer.text, answer.finish, answer.tool_calls) == ('{"city": "Oslo"}', "stop", ())
    assert [delta.text for delta in heard if isinstance(delta, TextDelta)] == ['{"city": ', '"Oslo"}']
    body = server.bodies[0]
    assert body["tool_choice"] == {"type": "tool", "name": "the_place"}
    assert body["tools"][0]["name"] == "the_place"
    assert body["tools"][0]["input_schema"] == SCHEMA


async def test_with_other_tools_the_model_may_call_them_first(adapter: AnthropicMessages) -> None:
    look = ToolSpec(name="look", parameters={"type": "object", "properties": {}})
    asked = replace(ASK, answer=AnswerSchema(name="place", schema=SCHEMA), answer_by="tool", tools=(look,))
    reply = message(text(0, "First I look."), call(0, "look", "{}"), stop="tool_use")
    async with messages_server(Sent(sse(reply))) as server:
        heard, answer = await hear(adapter, endpoint(server), asked)
    assert [made.name for made in answer.tool_calls] == ["look"]
    assert (answer.finish, answer.text) == ("tool_calls", "First I look.")
    assert any(isinstance(delta, ToolCallDelta) for delta in heard)
    assert server.bodies[0]["tool_choice"] == {"type": "any"}


async def test_a_cancelled_call_hangs_up(adapter: AnthropicMessages) -> None:
    started = asyncio.Event()

    async def listen() -> None:
        async with aclosing(adapter.stream(at, ASK)) as deltas:
            async for delta in deltas:
                if isinstance(delta, TextDelta):
                    started.set()

    half = sse(message(text(0, "a", "b"))[:5])
    async with messages_server(Sent(half, then="stall")) as server:
        at = endpoint(server, between_s=60.0)
        task = asyncio.create_task(listen())
        await started.wait()
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(1.0):
            await server.aborted.wait()
    assert task.cancelled()


async def test_thinking_done_comes_before_the_call(adapter: AnthropicMessages) -> None:
    reply = message(
        block(0, {"type": "thinking", "thinking": ""}, {"type": "signature_delta", "signature": "S"}),
        call(1, "look", "{}"),
        stop="tool_use",
    )
    async with messages_server(Sent(sse(reply))) as server:
        heard, _ = await hear(adapter, endpoint(server))
    kinds = [type(delta) for delta in heard if isinstance(delta, ThinkingDone | ToolCallDelta)]
    assert kinds[0] is ThinkingDone


async def test_a_key_of_a_gateway_is_sent_both_ways_and_v1_is_not_doubled(adapter: AnthropicMessages) -> None:
    async with messages_server(Sent(HELLO)) as server:
        at = endpoint(server, profile="generic", base_url=f"{server.url}/proxy/v1/", headers=(("x-team", "a"),))
        await hear(adapter, at, replace(ASK, messages=(SystemMessage(text="s"), user("u"))))
    request = server.requests[0]
    assert request.target == "/proxy/v1/messages"
    assert (request.header("x-api-key"), request.header("x-team")) == (KEY, "a")
