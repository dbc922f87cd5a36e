"""Chat Completions over a real socket: what is sent, and what the answer becomes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.provider_bytes import answered, call, chunk, failed, provider, stream, usage, whole
from perdure_activities.models.openai_chat import OpenAIChat
from perdure_activities.models.protocol import Headers, LoadedFile, TextDelta, ThinkingDelta
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

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
HELLO = (chunk({"role": "assistant", "content": "Hel"}), chunk({"content": "lo"}), chunk(finish="stop"))


@pytest.fixture
async def adapter() -> AsyncIterator[OpenAIChat]:
    made = OpenAIChat()
    yield made
    await made.close()


async def test_an_answer_streams_with_its_usage_and_limits(adapter: OpenAIChat) -> None:
    reply = stream(*HELLO, usage(7, 2, prompt_tokens_details={"cached_tokens": 5}))
    head = reply.parts[0]
    assert isinstance(head, bytes)
    told = b"x-request-id: req-1\r\nx-ratelimit-remaining-requests: 9\r\nx-ratelimit-reset-requests: 1m2s\r\n"
    told += b"x-perdure-simulated: 1\r\n"
    reply = type(reply)((head[:-2] + told + b"\r\n", *reply.parts[1:]))
    async with provider(reply) as served:
        answer, deltas = await answered(adapter, served.endpoint(profile="openai"), call(max_tokens=50))
        again, _ = await answered(adapter, served.endpoint(profile="openai"), call(max_tokens=50))
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["Hel", "lo"]
    assert isinstance(deltas[0], Headers)
    assert answer.text == again.text == "Hello"
    assert answer.tokens == Tokens(prompt=7, completion=2, cache_read=5)
    assert (answer.finish, answer.model, answer.simulated, answer.headers.request_id) == ("stop", "m-1", True, "req-1")
    assert (answer.headers.remaining_requests, answer.headers.reset_s) == (9, 62.0)
    assert answer.message.content == (TextPart(text="Hello"),)
    body = served.body(0)
    assert body["messages"] == [{"role": "user", "content": "hi"}]
    assert body["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert body["max_completion_tokens"] == 50
    assert "max_tokens" not in body
    assert served.requests[0].header("authorization") == "Bearer sk-secret-key"
    assert served.connections == 1, "the connection is used again"


async def test_a_conversation_with_files_tools_and_results(adapter: OpenAIChat) -> None:
    said = ThinkingPart(provider="acme", text="hm", signature="s")
    calls = (
        ToolCall(id="a", name="f", arguments='{"x":1}'),
        ToolCall(id="b", name="g", arguments="{cut", broken="cut"),
    )
    picture = FilePart(kind="image", file={"id": "p"}, detail="low")
    messages = (
        SystemMessage(text="Be brief."),
        user("look", picture, FilePart(kind="document", file={"id": "d"}), FilePart(kind="audio", file={"id": "s"})),
        AssistantMessage(content=(said, TextPart(text="ok"), *calls)),
        ToolMessage(
            call_id="a", name="f", content=(TextPart(text="1"), FilePart(kind="image", file={"id": None, "url": "u"}))
        ),
        ToolMessage(call_id="b", name="g", content=(TextPart(text="not run"),), is_error=True),
        user("go on"),
    )
    files = {
        "p": LoadedFile("image/png", b"\x89PNG"),
        "u": LoadedFile("image/png", url="https://x.test/u.png"),
        "d": LoadedFile("application/pdf", b"%PDF", name="a.pdf"),
        "s": LoadedFile("audio/mpeg", b"ID3"),
    }
    tools = (ToolSpec(name="f", description="F", parameters={"type": "object"}, strict=True),)
    asked = call(messages=messages, files=files, tools=tools, tool_choice="required", stop=("END",), user="u-1")
    async with provider(stream(*HELLO)) as served:
        await answered(adapter, served.endpoint(profile="vllm"), asked)
    body = served.body()
    system, look, assistant, first, second, shown, last = body["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    url = "data:image/png;base64,iVBORw=="
    assert look["content"][0] == {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    assert look["content"][1]["file"] == {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}
    assert look["content"][2]["input_audio"] == {"data": "SUQz", "format": "mp3"}
    assert look["content"][3] == {"type": "text", "text": "look"}
    assert assistant["content"] == "ok"
    assert [entry["function"]["arguments"] for entry in assistant["tool_calls"]] == ['{"x":1}', "{}"]
    assert "hm" not in json.dumps(body), "thinking is not given back on this wire"
    assert (first["tool_call_id"], first["content"], second["tool_call_id"]) == ("a", "1", "b")
    assert shown["role"] == "user"
    assert shown["content"][1]["image_url"]["url"] == "https://x.test/u.png"
    assert last == {"role": "user", "content": "go on"}
    assert body["tools"][0]["function"]["strict"] is True
    assert (body["tool_choice"], body["stop"], body["user"]) == ("required", ["END"], "u-1")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_thinking_is_kept_apart(adapter: OpenAIChat, field: str) -> None:
    events = (chunk({field: "let me "}), chunk({field: "see"}), *HELLO)
    async with provider(stream(*events)) as served:
        answer, deltas = await answered(adapter, served.endpoint(), call())
    assert (answer.text, answer.reasoning) == ("Hello", "let me see")
    assert [delta.text for delta in deltas if isinstance(delta, ThinkingDelta)] == ["let me ", "see"]


async def test_a_refusal_is_an_answer(adapter: OpenAIChat) -> None:
    async with provider(stream(chunk({"refusal": "I "}), chunk({"refusal": "won't"}), chunk(finish="stop"))) as served:
        answer, _ = await answered(adapter, served.endpoint(), call())
    assert (answer.text, answer.refusal, answer.finish) == ("", "I won't", "refusal")


async def test_structured_output_natively_and_by_tool(adapter: OpenAIChat) -> None:
    asked = AnswerSchema(name="my answer", schema=SCHEMA)
    piece = {"index": 0, "id": "c", "function": {"name": "my_answer", "arguments": '{"n":'}}
    rest = {"index": 0, "function": {"arguments": "1}"}}
    tooled = stream(
        chunk({"content": "Sure!"}),
        chunk({"tool_calls": [piece]}),
        chunk({"tool_calls": [rest]}),
        chunk(finish="tool_calls"),
    )
    async with provider(stream(chunk({"content": '{"n":1}'}), chunk(finish="stop")), tooled) as served:
        native, _ = await answered(adapter, served.endpoint(), call(answer=asked))
        forced, _ = await answered(adapter, served.endpoint(), call(answer=asked, answer_by="tool"))
        spoken = call(answer=asked, answer_by="tool")
        served.answers = [stream(chunk({"content": '{"n":2}'}), chunk(finish="stop"))]
        ignored, _ = await answered(adapter, served.endpoint(), spoken)
    assert native.text == forced.text == '{"n":1}'
    assert (forced.finish, forced.tool_calls) == ("stop", ())
    assert ignored.text == '{"n":2}'
    format_ = {"type": "json_schema", "json_schema": {"name": "my_answer", "schema": SCHEMA, "strict": True}}
    assert served.body(0)["response_format"] == format_
    assert served.body(1)["tool_choice"] == {"type": "function", "function": {"name": "my_answer"}}
    assert "response_format" not in served.body(1)


async def test_a_schema_that_strict_mode_would_refuse_is_not_sent_as_strict(adapter: OpenAIChat) -> None:
    loose = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object", "properties": {}}}}}
    async with provider(stream(*HELLO)) as served:
        await answered(adapter, served.endpoint(), call(answer=AnswerSchema(schema=loose)))
    assert served.body()["response_format"]["json_schema"]["strict"] is False


@pytest.mark.parametrize(
    ("profile", "parameters", "sent"),
    [
        ("openai", {"reasoning_effort": "low", "verbosity": "low"}, {"reasoning_effort": "low", "verbosity": "low"}),
        ("openai", {"response_format": "json_object"}, {"response_format": {"type": "json_object"}}),
        ("generic", {"response_format": "JSON"}, {"response_format": {"type": "json_object"}}),
        ("generic", {"response_format": "text", "temperature": None}, {}),
        ("vllm", {"top_k": 5, "guided_choice": ["a"]}, {"top_k": 5, "guided_choice": ["a"]}),
        ("vllm", {"max_completion_tokens": 9}, {"max_completion_tokens": 9}),
        ("openai", {"parallel_tool_calls": False}, {}),
    ],
)
async def test_parameters(adapter: OpenAIChat, profile: str, parameters: dict[str, Any], sent: dict[str, Any]) -> None:
    async with provider(stream(*HELLO)) as served:
        await answered(adapter, served.endpoint(profile=profile), call(parameters=parameters))
    body = served.body()
    assert {k: v for k, v in body.items() if k not in {"model", "messages", "stream", "stream_options"}} == sent


async def test_the_parameter_json_schema_gives_the_format(adapter: OpenAIChat) -> None:
    parameters = {"response_format": "json_schema", "json_schema": json.dumps(SCHEMA)}
    async with provider(stream(*HELLO)) as served:
        await answered(adapter, served.endpoint(), call(parameters=parameters))
        fault, _ = await failed(adapter, served.endpoint(), call(parameters={**parameters, "json_schema": "{"}))
    assert served.body()["response_format"]["json_schema"]["schema"] == SCHEMA
    assert fault.kind == "bad_request"


async def test_stream_options_are_dropped_once_where_they_are_refused(adapter: OpenAIChat) -> None:
    refusal = {"error": {"message": "Unknown parameter: 'stream_options'", "type": "invalid_request_error"}}
    async with provider(whole(refusal, 400), stream(*HELLO)) as served:
        answer, _ = await answered(adapter, served.endpoint(), call())
        await answered(adapter, served.endpoint(api_key="another-key"), call())
    assert answer.text == "Hello"
    assert ["stream_options" in served.body(n) for n in range(3)] == [True, False, False]


async def test_a_reply_in_one_piece_is_read_as_one(adapter: OpenAIChat) -> None:
    message = {
        "role": "assistant",
        "content": "all at once",
        "reasoning_content": "quick",
        "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    used = usage(1, 2)["usage"]
    body = {"model": "m-2", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": used}
    async with provider(whole(body, media="application/json; charset=utf-8")) as served:
        answer, _ = await answered(adapter, served.endpoint(), call())
    assert (answer.text, answer.reasoning, answer.model) == ("all at once", "quick", "m-2")
    assert answer.tool_calls == (ToolCall(id="t", name="f", arguments="{}"),)
    assert answer.finish == "tool_calls"
    assert answer.tokens == Tokens(prompt=1, completion=2)


async def test_completion_mode_sends_one_text(adapter: OpenAIChat) -> None:
    texts = [{"model": "m-1", "choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in ("a", "b")]
    end = {"model": "m-1", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]}
    async with provider(stream(*texts, end, usage(3, 2))) as served:
        answer, _ = await answered(adapter, served.endpoint(), call("once upon", mode="completion", max_tokens=2))
    assert (answer.text, answer.finish) == ("ab", "length")
    assert served.requests[0].target == "/v1/completions"
    assert (served.body()["prompt"], served.body()["max_tokens"]) == ("once upon", 2)


async def test_bytes_in_odd_pieces_give_the_same_text(adapter: OpenAIChat) -> None:
    text = "naïve 日本語 🎉"
    events = [chunk({"content": text}), chunk(finish="stop")]
    wire = ": hi\r\n\r\nevent: odd\r\n" + "".join(
        f"data: {json.dumps(event, ensure_ascii=False)}\r\n\r\n" for event in events
    )
    pieces = [bytes([byte]) for byte in wire.encode()]
    async with provider(stream(*pieces)) as served:
        answer, _ = await answered(adapter, served.endpoint(), call())
    assert answer.text == text


async def test_half_of_a_surrogate_pair_is_replaced(adapter: OpenAIChat) -> None:
    async with provider(stream(chunk({"content": "a\ud83d "}), *HELLO)) as served:
        answer, _ = await answered(adapter, served.endpoint(), call())
    assert answer.text.startswith("a\ufffd ")


async def test_usage_last_wins_and_zeros_are_none(adapter: OpenAIChat) -> None:
    each = [{**event, "usage": usage(4, n)["usage"]} for n, event in enumerate(HELLO)]
    async with provider(stream(*each), stream(*HELLO, usage(0, 0))) as served:
        told, _ = await answered(adapter, served.endpoint(), call())
        silent, _ = await answered(adapter, served.endpoint(), call())
    assert told.tokens == Tokens(prompt=4, completion=2)
    assert silent.tokens is None


async def test_closing_the_generator_closes_the_socket_at_once(adapter: OpenAIChat) -> None:
    async with provider(stream(chunk({"content": "a"}), 60.0)) as served:
        deltas = adapter.stream(served.endpoint(), call())
        async for delta in deltas:
            if isinstance(delta, TextDelta):
                break
        await deltas.aclose()
        await asyncio.wait_for(served.gone.wait(), 1)


async def test_cancelling_closes_the_socket_at_once(adapter: OpenAIChat) -> None:
    async with provider(stream(chunk({"content": "a"}), 60.0)) as served:
        task = asyncio.create_task(answered(adapter, served.endpoint(), call()))
        while not served.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(served.gone.wait(), 1)


async def test_the_environment_says_nothing_of_an_endpoint(
    adapter: OpenAIChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "of-another-provider")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: of-another-provider")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with provider(stream(*HELLO)) as served:
        await answered(adapter, served.endpoint(api_key="", headers=(("X-Tenant", "t"),)), call())
    assert "of-another-provider" not in repr(served.requests)
    assert served.requests[0].header("x-tenant") == "t"
