"""The fake provider through the official SDKs, and its bytes through their models: nothing missing, nothing extra."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, MessageTokensCount, ModelInfo, RawMessageStreamEvent
from openai import AsyncOpenAI
from openai.types import Completion, CreateEmbeddingResponse, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from perdure_fake import Call, FakeProvider, Match, Reply, Script, Step, Used

TOOLS = [
    {"name": name, "schema": {"type": "object", "properties": {"q": {"type": "string"}}}} for name in ("find", "read")
]
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": t["name"], "parameters": t["schema"]}} for t in TOOLS]
FLAT_TOOLS: Any = [{"type": "function", "name": t["name"], "parameters": t["schema"], "strict": False} for t in TOOLS]
OWN_TOOLS: Any = [{"name": t["name"], "input_schema": t["schema"]} for t in TOOLS]
BOTH = Reply(
    text="Let me see.",
    tool_calls=(Call(name="find", arguments={"q": "Wände & Türen"}), Call(name="read", arguments={"q": "two"})),
)
SCRIPT = Script(
    steps=(
        Step(match=Match(contains="both"), reply=BOTH),
        Step(match=Match(contains="think"), reply=Reply(thinking="Hm. Well.", text="Yes.")),
        Step(match=Match(contains="hidden"), reply=Reply(thinking="Secret.", redacted=True, text="Yes.")),
        Step(match=Match(contains="no way"), reply=Reply(refusal="I will not.")),
        Step(match=Match(contains="long"), reply=Reply(text="It was a dark", finish="length")),
        Step(
            match=Match(contains="cached"),
            reply=Reply(text="ok", usage=Used(prompt=100, cache_read=60, cache_write=10)),
        ),
        Step(match=Match(has_schema=True), reply=Reply(structured={"city": "Bern", "n": 3})),
        Step(reply=Reply(chunks=("Grü", "ße, ", "你好", "!"))),
    )
)
CASES = ["hello", "both", "think", "hidden", "no way", "long", "cached"]
ANTHROPIC = {"x-api-key": "sk-test", "anthropic-version": "2026-10-21"}
EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
RESPONSE_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.fixture(scope="module")
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider.start_process(SCRIPT) as running:
        yield running


@pytest.fixture(scope="module")
async def openai(fake: FakeProvider) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key="sk-test", base_url=fake.openai_url, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
async def anthropic(fake: FakeProvider) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(api_key="sk-test", base_url=fake.anthropic_url, max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
async def raw(fake: FakeProvider) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fake.url, headers={"authorization": "Bearer sk-test"}) as client:
        yield client


def unknown(value: Any, path: str = "") -> list[str]:
    """Fields that an SDK's model does not know, all the way down."""
    if isinstance(value, BaseModel):
        found = [f"{path}.{name}" for name in value.model_extra or {}]
        inner = ((name, getattr(value, name)) for name in type(value).model_fields)
        return found + [one for name, part in inner for one in unknown(part, f"{path}.{name}")]
    if isinstance(value, list):
        return [one for part in value for one in unknown(part, f"{path}[]")]
    return []


def datas(body: str) -> list[tuple[str | None, str]]:
    """Event name and data of each server-sent event."""
    events: list[tuple[str | None, str]] = []
    for block in body.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        events.append((fields.get("event"), fields["data"]))
    return events


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-6-sol", "messages": [{"role": "user", "content": text}], "tools": CHAT_TOOLS, **more}


def responses(said: str, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-6-sol", "input": said, "tools": FLAT_TOOLS, **more}


def messages(text: str, **more: Any) -> dict[str, Any]:
    content = [{"role": "user", "content": text}]
    return {"model": "claude-sonnet-5-5", "max_tokens": 500, "messages": content, "tools": OWN_TOOLS, **more}


@pytest.mark.parametrize("text", CASES)
async def test_bodies_are_what_the_sdk_models_say(raw: httpx2.AsyncClient, text: str) -> None:
    reply = await raw.post("/v1/chat/completions", json=chat(text))
    completion = ChatCompletion.model_validate_json(reply.content, strict=True)
    assert [one for one in unknown(completion) if not one.endswith("reasoning_content")] == []
    assert reply.headers["x-perdure-simulated"] == "1"
    assert reply.headers["x-request-id"].startswith("req_")

    reply = await raw.post("/v1/responses", json=responses(text))
    assert unknown(Response.model_validate_json(reply.content, strict=True)) == []

    reply = await raw.post("/v1/messages", json=messages(text), headers=ANTHROPIC)
    assert unknown(Message.model_validate_json(reply.content, strict=True)) == []
    assert reply.headers["request-id"].startswith("req_")
    assert reply.headers["x-perdure-simulated"] == "1"


@pytest.mark.parametrize("text", CASES)
async def test_streams_are_what_the_sdk_models_say(raw: httpx2.AsyncClient, text: str) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    reply = await raw.post("/v1/chat/completions", json=chat(text, **options))
    *chunks, (_, last) = datas(reply.text)
    assert last == "[DONE]"
    for _, data in chunks:
        chunk = ChatCompletionChunk.model_validate_json(data, strict=True)
        assert [one for one in unknown(chunk) if not one.endswith("reasoning_content")] == []

    reply = await raw.post("/v1/responses", json=responses(text, stream=True))
    numbers: list[int] = []
    for name, data in datas(reply.text):
        event = RESPONSE_EVENTS.validate_json(data, strict=True)
        assert (event.type, unknown(event)) == (name, [])
        numbers.append(event.sequence_number)
    assert numbers == list(range(len(numbers)))

    reply = await raw.post("/v1/messages", json=messages(text, stream=True), headers=ANTHROPIC)
    for name, data in datas(reply.text):
        if name != "ping":
            event = EVENTS.validate_json(data, strict=True)
            assert (event.type, unknown(event)) == (name, [])


@pytest.mark.parametrize("text", CASES)
async def test_a_stream_says_what_the_body_says(openai: AsyncOpenAI, anthropic: AsyncAnthropic, text: str) -> None:
    whole: Any = await openai.chat.completions.create(**chat(text))
    async with openai.chat.completions.stream(**chat(text, stream_options={"include_usage": True})) as stream:
        if text == "long":
            with pytest.raises(Exception, match="length limit"):
                await stream.get_final_completion()
        else:
            ended = await stream.get_final_completion()
            assert (ended.choices[0].message.content or "") == (whole.choices[0].message.content or "")
            assert ended.choices[0].message.refusal == whole.choices[0].message.refusal
            calls = [(one.function.name, one.function.arguments) for one in ended.choices[0].message.tool_calls or []]
            told = [(one.function.name, one.function.arguments) for one in whole.choices[0].message.tool_calls or []]
            assert (calls, ended.usage) == (told, whole.usage)
            assert ended.choices[0].finish_reason == whole.choices[0].finish_reason

    answer: Any = await openai.responses.create(**responses(text))
    async with openai.responses.stream(**responses(text)) as stream:
        final: Any = [event async for event in stream][-1]
    assert final.type in {"response.completed", "response.incomplete"}
    assert final.response.output_text == answer.output_text
    assert [item.type for item in final.response.output] == [item.type for item in answer.output]
    assert final.response.usage == answer.usage

    message: Any = await anthropic.messages.create(**messages(text))
    async with anthropic.messages.stream(**messages(text)) as stream:
        ended = await stream.get_final_message()
    said, told = ([b.to_dict() | {"id": ""} for b in one.content] for one in (ended, message))
    assert said == told
    assert (ended.stop_reason, ended.usage) == (message.stop_reason, message.usage)


async def test_what_each_wire_tells_of_an_answer(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    both: Any = await openai.chat.completions.create(**chat("both"))
    calls = both.choices[0].message.tool_calls
    assert [(c.function.name, json.loads(c.function.arguments)["q"]) for c in calls] == [
        ("find", "Wände & Türen"),
        ("read", "two"),
    ]
    assert both.choices[0].finish_reason == "tool_calls"
    assert len({call.id for call in calls}) == 2
    thought: Any = await openai.chat.completions.create(**chat("think"))
    assert thought.choices[0].message.model_extra["reasoning_content"] == "Hm. Well."
    assert 0 < thought.usage.completion_tokens_details.reasoning_tokens < thought.usage.completion_tokens
    refused: Any = await openai.chat.completions.create(**chat("no way"))
    assert (refused.choices[0].message.content, refused.choices[0].message.refusal) == (None, "I will not.")

    used: Any = await anthropic.messages.create(**messages("both"))
    assert [block.type for block in used.content] == ["text", "tool_use", "tool_use"]
    assert (used.content[1].input, used.stop_reason) == ({"q": "Wände & Türen"}, "tool_use")
    thought = await anthropic.messages.create(**messages("think"))
    assert (thought.content[0].thinking, bool(thought.content[0].signature)) == ("Hm. Well.", True)
    hidden: Any = await anthropic.messages.create(**messages("hidden"))
    assert hidden.content[0].type == "redacted_thinking"
    refused = await anthropic.messages.create(**messages("no way"))
    assert (refused.stop_reason, refused.stop_details.type) == ("refusal", "refusal")
    cached: Any = await anthropic.messages.create(**messages("cached"))
    usage = cached.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (30, 60, 10)

    cut: Any = await openai.responses.create(**responses("long"))
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    cached = await openai.responses.create(**responses("cached"))
    assert (cached.usage.input_tokens, cached.usage.input_tokens_details.cached_tokens) == (100, 60)


async def test_chunks_are_streamed_as_given(openai: AsyncOpenAI) -> None:
    stream: Any = await openai.chat.completions.create(**chat("hello", stream=True))
    told = [chunk.choices[0].delta.content async for chunk in stream]
    assert told == ["", "Grü", "ße, ", "你好", "!", None]


async def test_structured_output_of_each_wire(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}}}
    schema |= {"required": ["city", "n"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    reply: Any = await openai.chat.completions.create(**chat("where?", response_format=wanted))
    flat = {"format": {"type": "json_schema", "name": "place", "schema": schema, "strict": True}}
    answer: Any = await openai.responses.create(**responses("where?", text=flat))
    own = {"format": {"type": "json_schema", "schema": schema}}
    message: Any = await anthropic.messages.create(**messages("where?", output_config=own))
    for text in (reply.choices[0].message.content, answer.output_text, message.content[0].text):
        assert json.loads(text) == {"city": "Bern", "n": 3}


async def test_a_conversation_goes_on_with_what_was_said(openai: AsyncOpenAI, anthropic: AsyncAnthropic) -> None:
    """Thinking goes back with its signature, calls with their results: each wire takes its own answers."""
    first: Any = await anthropic.messages.create(**messages("think"))
    history = [
        {"role": "user", "content": "think"},
        {"role": "assistant", "content": [b.to_dict() for b in first.content]},
    ]
    again: Any = await anthropic.messages.create(
        **messages("x") | {"messages": [*history, {"role": "user", "content": "and?"}]}
    )
    assert again.content[0].text == "Grüße, 你好!"

    used: Any = await anthropic.messages.create(**messages("both"))
    ids = [block.id for block in used.content if block.type == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": one, "content": "done"} for one in ids]
    history = [{"role": "user", "content": "b"}, {"role": "assistant", "content": [b.to_dict() for b in used.content]}]
    await anthropic.messages.create(**messages("x") | {"messages": [*history, {"role": "user", "content": results}]})

    answer: Any = await openai.responses.create(
        **responses("think", store=False, include=["reasoning.encrypted_content"])
    )
    items = [item.to_dict() for item in answer.output]
    await openai.responses.create(
        **responses("x") | {"input": [{"role": "user", "content": "think"}, *items, {"role": "user", "content": "?"}]}
    )

    called: Any = await openai.chat.completions.create(**chat("both"))
    said = called.choices[0].message.to_dict()
    told = [{"role": "tool", "tool_call_id": call["id"], "content": "done"} for call in said["tool_calls"]]
    await openai.chat.completions.create(**chat("x") | {"messages": [{"role": "user", "content": "b"}, said, *told]})


async def test_embeddings_are_unit_vectors_close_for_common_words(openai: AsyncOpenAI, raw: httpx2.AsyncClient) -> None:
    texts = ["the cat sat down", "a cat sat there", "quarterly revenue grew"]
    found = await openai.embeddings.create(model="simulated-embedding", input=texts, dimensions=256)
    vectors = [item.embedding for item in found.data]
    assert all(math.isclose(sum(x * x for x in vector), 1.0, abs_tol=1e-5) for vector in vectors)
    close, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert close > 0.3 > far
    again = await openai.embeddings.create(
        model="simulated-embedding", input=texts[0], dimensions=256, encoding_format="float"
    )
    assert again.data[0].embedding == pytest.approx(vectors[0], abs=1e-6)
    reply = await raw.post("/v1/embeddings", json={"model": "e", "input": ["one"]})
    body = CreateEmbeddingResponse.model_validate_json(reply.content, strict=True)
    assert (unknown(body), len(body.data[0].embedding)) == ([], 1536)


async def test_rerank_puts_the_document_with_the_words_first(raw: httpx2.AsyncClient) -> None:
    documents = ["bananas are yellow", {"text": "the capital of France is Paris"}, "capital gains"]
    asked = {"model": "r", "query": "what is the capital of France", "documents": documents, "top_n": 2}
    reply = (await raw.post("/v1/rerank", json=asked)).json()
    assert [one["index"] for one in reply["results"]] == [1, 2]
    assert 1 >= reply["results"][0]["relevance_score"] > reply["results"][1]["relevance_score"] > 0


async def test_models_are_listed_for_each_wire(
    openai: AsyncOpenAI, anthropic: AsyncAnthropic, raw: httpx2.AsyncClient
) -> None:
    assert [one.id async for one in openai.models.list()] == [one.id async for one in anthropic.models.list()]
    reply = await raw.get("/v1/models/some-model")
    assert unknown(Model.model_validate_json(reply.content, strict=True)) == []
    reply = await raw.get("/v1/models/some-model", headers=ANTHROPIC)
    model = ModelInfo.model_validate_json(reply.content, strict=True)
    assert (unknown(model), model.id) == ([], "some-model")


async def test_tokens_are_counted_as_they_are_billed(anthropic: AsyncAnthropic, raw: httpx2.AsyncClient) -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "tools": OWN_TOOLS}
    reply = await raw.post("/v1/messages/count_tokens", json=asked, headers=ANTHROPIC)
    counted = MessageTokensCount.model_validate_json(reply.content, strict=True)
    message: Any = await anthropic.messages.create(**messages("hello"))
    assert counted.input_tokens == message.usage.input_tokens


async def test_old_completions(openai: AsyncOpenAI, raw: httpx2.AsyncClient) -> None:
    asked: Any = {"model": "old", "prompt": "hello"}
    reply = await raw.post("/v1/completions", json=asked)
    assert unknown(Completion.model_validate_json(reply.content, strict=True)) == []
    stream: Any = await openai.completions.create(**asked, stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == "Grüße, 你好!"
