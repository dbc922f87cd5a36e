"""What the fake refuses as the real APIs do: a table of requests that are wrong, per wire, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from perdure_fake import FakeProvider, Script

USER = {"role": "user", "content": "hi"}
HEADERS = {"authorization": "Bearer sk-x"}
VERSION = {"anthropic-version": "2026-10-21"}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}
LOOSE = OPEN | {"additionalProperties": False}


@pytest.fixture(scope="module")
async def raw() -> AsyncIterator[httpx2.AsyncClient]:
    async with FakeProvider.start_here() as fake, httpx2.AsyncClient(base_url=fake.url, headers=HEADERS) as client:
        yield client


@pytest.fixture(scope="module")
async def lenient() -> AsyncIterator[httpx2.AsyncClient]:
    script = Script(strict=False)
    async with (
        FakeProvider.start_here(script) as fake,
        httpx2.AsyncClient(base_url=fake.url, headers=HEADERS) as client,
    ):
        yield client


def call(*ids: str) -> dict[str, Any]:
    calls = [{"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}} for one in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(one: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": one, "content": "done"}


def function(**more: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "f", "parameters": OPEN} | more}]}


def schema(**more: Any) -> dict[str, Any]:
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": OPEN, "strict": True} | more}
    }


CHAT: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "Missing required parameter: 'model'"),
    ({"messages": []}, "empty array"),
    ({"tempratur": 1}, "Unknown parameter: 'tempratur'"),
    ({"stream_options": {"include_usage": True}}, "only allowed when 'stream' is enabled"),
    ({"max_tokens": 5}, "Use 'max_completion_tokens' instead"),
    ({"stop": list("abcde")}, "maximum length 4"),
    ({"tool_choice": "auto"}, "only allowed when 'tools'"),
    (function(name="no spaces"), "does not match pattern"),
    (function(strict=True), "'additionalProperties' is required"),
    (function(strict=True, parameters=LOOSE), "'required' must include every key"),
    (function() | {"tool_choice": {"type": "function", "function": {"name": "g"}}}, "'g' not found"),
    (schema(), "Invalid schema for response_format 'x'"),
    (schema(name=None), "json_schema.name"),
    ({"response_format": {"type": "json_object"}}, "must contain the word 'json'"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "'robot'"),
    ({"messages": [{"role": "user", "content": None}]}, "expected a string, got null"),
    ({"messages": [USER, result("c1")]}, "preceeding message with 'tool_calls'"),
    ({"messages": [USER, call("c1", "c2"), result("c1"), USER]}, "did not have response messages: c2"),
    ({"messages": [USER, call("c1")]}, "did not have response messages: c1"),
    ({"messages": [USER, call("c1", "c1"), result("c1"), result("c1")]}, "Duplicate"),
]


@pytest.mark.parametrize(("wrong", "said"), CHAT)
async def test_chat_completions(raw: httpx2.AsyncClient, wrong: dict[str, Any], said: str) -> None:
    body = {"model": "gpt-6-sol", "messages": [USER]} | wrong
    reply = await raw.post("/v1/chat/completions", json=body)
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert said in error["message"]
    assert (error["type"], set(error)) == ("invalid_request_error", {"message", "type", "param", "code"})


def item(kind: str, **more: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "name": "f",
        "arguments": "{}",
        "call_id": "c1",
        "id": "i1",
        "output": "x",
        "summary": [],
        **more,
    }


RESPONSES: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "Missing required parameter: 'input'"),
    ({"messages": [USER]}, "Unknown parameter: 'messages'"),
    ({"max_output_tokens": 5}, "Expected a value >= 16"),
    ({"previous_response_id": "resp_1"}, "Previous response with id 'resp_1' not found"),
    ({"tools": [{"type": "function", "function": {"name": "nested"}}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "parameters": OPEN, "strict": True}]}, "'additionalProperties'"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": OPEN, "strict": True}}}, "response_format 'x'"),
    ({"input": [USER, item("function_call_output")]}, "No tool call found for function call output"),
    ({"input": [USER, item("function_call")]}, "No tool output found for function call c1"),
    ({"input": [USER, item("reasoning"), {"role": "assistant", "content": "x"}, USER]}, "Items are not persisted"),
    ({"input": [USER, item("reasoning", encrypted_content="made up"), USER]}, "could not be verified"),
    ({"input": [USER, item("telepathy")]}, "'telepathy'"),
]


@pytest.mark.parametrize(("wrong", "said"), RESPONSES)
async def test_responses(raw: httpx2.AsyncClient, wrong: dict[str, Any], said: str) -> None:
    reply = await raw.post("/v1/responses", json={"model": "gpt-6-sol", "input": "hi"} | wrong)
    assert reply.status_code in {400, 404}
    assert said in reply.json()["error"]["message"]


def use(*ids: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "tool_use", "id": one, "name": "f", "input": {}} for one in ids]}


def results(*ids: str, first: str = "") -> dict[str, Any]:
    blocks = [{"type": "tool_result", "tool_use_id": one, "content": "done"} for one in ids]
    return {"role": "user", "content": [*([{"type": "text", "text": first}] if first else []), *blocks]}


def thought(**block: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": [block, {"type": "text", "text": "so"}]}
    return {"messages": [USER, said, USER]}


CACHED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
THINKS = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2048}
OWN = {"tools": [{"name": "f", "input_schema": OPEN}]}

MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "greater than or equal to 1"),
    ({"messages": []}, "at least one message"),
    ({"seed": 1}, "seed: Extra inputs are not permitted"),
    ({"system": [{"type": "text", "text": ""}]}, "text content blocks must be non-empty"),
    ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]}, "non-whitespace"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "'user' or 'assistant'"),
    ({"messages": [{"role": "assistant", "content": "x"}, USER]}, 'first message must use the "user" role'),
    ({"messages": [USER, {"role": "assistant", "content": "x"}]}, "prefill"),
    ({"messages": [USER, use("t1"), USER]}, "without `tool_result` blocks immediately after: t1"),
    ({"messages": [USER, use("t1", "t2"), results("t1")]}, "immediately after: t2"),
    ({"messages": [USER, results("t1")]}, "unexpected `tool_use_id`"),
    ({"messages": [USER, use("t1"), results("t1", "t1")]}, "unexpected `tool_use_id`"),
    ({"messages": [USER, use("t1"), results("t1", first="well")]}, "must come first"),
    ({"messages": [USER, use("t1", "t1"), results("t1")]}, "ids must be unique"),
    (thought(type="thinking", thinking="hm"), "signature: Field required"),
    (thought(type="thinking", thinking="hm", signature="made up"), "Invalid `signature`"),
    (thought(type="redacted_thinking", data="made up"), "Invalid `data`"),
    ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "must be greater than `thinking.budget_tokens`"),
    (THINKS | OWN | {"tool_choice": {"type": "any"}}, "forces tool use"),
    (THINKS | {"messages": [USER, use("t1"), results("t1")]}, "Expected `thinking`"),
    ({"tool_choice": {"type": "auto"}}, "while providing `tools`"),
    (OWN | {"tool_choice": {"type": "tool", "name": "g"}}, "'g' not found"),
    ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "Input should be 'object'"),
    ({"tools": OWN["tools"] * 2}, "must be unique"),
    (
        {"output_config": {"format": {"type": "json_schema", "schema": OPEN}}},
        "'additionalProperties' must be explicitly",
    ),
    ({"messages": [{"role": "user", "content": [CACHED] * 5}]}, "maximum of 4 blocks"),
]


@pytest.mark.parametrize(("wrong", "said"), MESSAGES)
async def test_messages(raw: httpx2.AsyncClient, wrong: dict[str, Any], said: str) -> None:
    body = {"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [USER]} | wrong
    reply = await raw.post("/v1/messages", json=body, headers=VERSION)
    assert reply.status_code == 400
    told = reply.json()
    assert said in told["error"]["message"]
    assert (told["type"], told["error"]["type"]) == ("error", "invalid_request_error")
    assert told["request_id"] == reply.headers["request-id"]


async def test_what_is_right_is_taken(raw: httpx2.AsyncClient) -> None:
    """The neighbours of what is refused: each of these a real API answers."""
    chats: list[dict[str, Any]] = [
        {"messages": [USER, call("c1", "c2"), result("c2"), result("c1"), USER]},
        {"model": "qwen3", "max_tokens": 5},
        schema(schema=LOOSE | {"required": ["a"]}),
        {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "as JSON"}]},
    ]
    for more in chats:
        reply = await raw.post("/v1/chat/completions", json={"model": "gpt-6-sol", "messages": [USER]} | more)
        assert reply.status_code == 200, reply.text
    own: list[dict[str, Any]] = [
        {"messages": [USER, use("t1", "t2"), results("t2", "t1"), {"role": "assistant", "content": "x"}, USER]},
        {"model": "claude-haiku-4-5", "messages": [USER, {"role": "assistant", "content": "x"}]},
        {"messages": [USER, {"role": "system", "content": "be short"}]},
        {"temperature": 0.5},
        {"output_config": {"format": {"type": "json_schema", "schema": LOOSE}}},
    ]
    for more in own:
        body = {"model": "claude-sonnet-5-5", "max_tokens": 50, "messages": [USER]} | more
        reply = await raw.post("/v1/messages", json=body, headers=VERSION)
        assert reply.status_code == 200, reply.text
    pair = [item("function_call"), item("function_call_output")]
    reply = await raw.post("/v1/responses", json={"model": "gpt-6-sol", "input": [USER, *pair]})
    assert reply.status_code == 200, reply.text


async def test_without_strict_only_what_is_needed_is_asked_for(lenient: httpx2.AsyncClient) -> None:
    odd = {"model": "m", "messages": [USER, call("c1")], "guided_json": {}, "max_tokens": 5}
    assert (await lenient.post("/v1/chat/completions", json=odd)).status_code == 200
    own = {"model": "m", "max_tokens": 5, "messages": [USER, use("t1")], "seed": 3}
    assert (await lenient.post("/v1/messages", json=own, headers=VERSION)).status_code == 200
    assert (await lenient.post("/v1/chat/completions", json={"model": "m"})).status_code == 400


async def test_doors_that_are_shut(raw: httpx2.AsyncClient) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [USER]}
    reply = await raw.post("/v1/messages", json=body)
    assert "anthropic-version" in reply.json()["error"]["message"]
    reply = await raw.post("/v1/chat/completions", json=body, headers={"authorization": ""})
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "invalid_request_error")
    reply = await raw.post("/v1/messages", json=body, headers={"authorization": "", **VERSION})
    assert (reply.status_code, reply.json()["error"]["type"]) == (401, "authentication_error")
    reply = await raw.post("/v1/messages", json=body, headers={"authorization": "", "x-api-key": "k", **VERSION})
    assert reply.status_code == 200
    assert (await raw.post("/v1/nothing", json={})).status_code == 404
    assert (await raw.get("/v1/chat/completions")).status_code == 404
    for bad in (b"{", b"[1]"):
        assert (await raw.post("/v1/chat/completions", content=bad)).status_code == 400
    for path, wrong in (
        ("embeddings", {"input": []}),
        ("rerank", {"query": "q", "documents": []}),
        ("completions", {}),
    ):
        assert (await raw.post(f"/v1/{path}", json={"model": "m", **wrong})).status_code == 400


async def test_only_the_models_of_a_script_are_there() -> None:
    script = Script(models=("one",))
    async with FakeProvider.start_here(script) as fake, httpx2.AsyncClient(base_url=fake.url, headers=HEADERS) as raw:
        assert [m["id"] for m in (await raw.get("/v1/models")).json()["data"]] == ["one"]
        assert (await raw.get("/v1/models/two")).json()["error"]["code"] == "model_not_found"
        reply = await raw.post(
            "/v1/messages", json={"model": "two", "max_tokens": 5, "messages": [USER]}, headers=VERSION
        )
        assert (reply.status_code, reply.json()["error"]["type"]) == (404, "not_found_error")


async def test_bodies_in_chunks_and_requests_that_are_no_http(raw: httpx2.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        data = json.dumps({"model": "m", "messages": [USER]}).encode()
        yield data[:10]
        yield data[10:]

    reply = await raw.post("/v1/chat/completions", content=pieces())
    assert reply.status_code == 200
    import asyncio

    reader, writer = await asyncio.open_connection("127.0.0.1", raw.base_url.port)
    writer.write(b"NONSENSE\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
