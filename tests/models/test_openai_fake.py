"""The OpenAI wires against servers that others wrote: the shipped fake, which is strict, and llmock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fakes.provider_bytes import answered, call, failed
from perdure_activities.models.embeddings import OpenAIEmbeddings
from perdure_activities.models.openai_chat import OpenAIChat
from perdure_activities.models.openai_responses import OpenAIResponses
from perdure_activities.models.protocol import Endpoint, TextDelta, Wire
from perdure_activities.models.rerank import HttpReranker
from perdure_fake import Call, FakeProvider, Fault, Latency, Match, Reply, Script, Step
from perdure_graph.models.messages import AnswerSchema, SystemMessage, TextPart, ToolMessage, ToolSpec, user

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS = (ToolSpec(name="lookup", description="Look up a city.", parameters=SCHEMA),)
PARAMETERS: dict[str, Any] = {"reasoning_effort": "low", "verbosity": "low", "parallel_tool_calls": True}
SLOW = Latency(first=1.0)
WIRES: tuple[Wire, ...] = ("openai-chat", "openai-responses")
wires = pytest.mark.parametrize("wire", WIRES)


@pytest.fixture(scope="module")
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider.start_process() as started:
        yield started


@pytest.fixture
async def adapters() -> AsyncIterator[dict[Wire, Any]]:
    made: dict[Wire, Any] = {"openai-chat": OpenAIChat(), "openai-responses": OpenAIResponses()}
    yield made
    for adapter in made.values():
        await adapter.close()


def endpoint(url: str, wire: Wire = "openai-chat", **more: Any) -> Endpoint:
    settings: dict[str, Any] = {"profile": "openai", "first_token_s": 5.0, "between_s": 1.0, "allow_private": True}
    return Endpoint("d", "acme", wire, url, "sk-secret-key", **(settings | more))


@wires
async def test_a_round_of_tools_passes_strict_checks(fake: FakeProvider, adapters: dict[Wire, Any], wire: Wire) -> None:
    calls = tuple(Call(name="lookup", arguments={"city": city}) for city in ("Oslo", "Rome"))
    first = Reply(text="Let me see.", thinking="two cities", tool_calls=calls)
    done = Step(match=Match(nth=2), reply=Reply(chunks=("Cold", " and ", "warm.")))
    await fake.script(Script(steps=(Step(match=Match(nth=1), reply=first), done)))
    at = endpoint(fake.openai_url, wire)
    asked = (SystemMessage(text="Be brief."), user("Oslo or Rome?"))
    asking = {"tools": TOOLS, "parameters": PARAMETERS, "user": "u-1", "cache_key": "k", "max_tokens": 500}
    answer, _ = await answered(adapters[wire], at, call(messages=asked, **asking))
    assert [json.loads(one.arguments) for one in answer.tool_calls] == [{"city": "Oslo"}, {"city": "Rome"}]
    assert answer.reasoning == "two cities"
    results = [
        ToolMessage(call_id=one.id, name=one.name, content=(TextPart(text=degrees),))
        for one, degrees in zip(answer.tool_calls, ("-3", "17"), strict=True)
    ]
    end, deltas = await answered(adapters[wire], at, call(messages=(*asked, answer.message, *results), **asking))
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["Cold", " and ", "warm."]
    assert (end.finish, end.simulated, bool(end.headers.request_id)) == ("stop", True, True)
    billed = (await fake.journal())[-1].usage
    assert billed is not None
    assert end.tokens is not None
    assert (end.tokens.prompt, end.tokens.completion) == (billed.prompt, billed.completion)


@wires
@pytest.mark.parametrize("by", ["native", "tool"])
async def test_structured_output(fake: FakeProvider, adapters: dict[Wire, Any], wire: Wire, by: Any) -> None:
    await fake.script(Script(steps=(Step(reply=Reply(structured={"city": "Oslo"})),)))
    asked = call(answer=AnswerSchema(schema=SCHEMA), answer_by=by)
    answer, _ = await answered(adapters[wire], endpoint(fake.openai_url, wire), asked)
    assert (json.loads(answer.text), answer.finish, answer.tool_calls) == ({"city": "Oslo"}, "stop", ())


@wires
@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (1, "rate_limited"),
        (2, "rate_limited"),
        (3, "rate_limited"),
        (4, "quota_exhausted"),
        (5, "auth"),
        (6, "quota_exhausted"),
        (7, "permission"),
        (8, "not_found"),
        (9, "context_overflow"),
        (11, "bad_request"),
        (12, "timeout"),
        (13, "server_error"),
        (14, "server_error"),
        (15, "overloaded"),
        (16, "overloaded"),
        (17, "connection"),
        (18, "connection"),
        (19, "timeout"),
        (20, "stream_broken"),
        (21, "stream_broken"),
        (22, "stream_broken"),
        (23, "overloaded"),
        (24, "protocol_error"),
        (25, "protocol_error"),
        (26, "protocol_error"),
        (27, "server_error"),
        (41, "protocol_error"),
        (42, "protocol_error"),
    ],
)
async def test_rows_that_fail(fake: FakeProvider, adapters: dict[Wire, Any], wire: Wire, row: int, kind: str) -> None:
    await fake.reset()
    await fake.script(Script(steps=(Step(reply="Hello there", fault=Fault(row=row)),)))
    fault, _ = await failed(adapters[wire], endpoint(fake.openai_url, wire, first_token_s=1.0), call())
    assert fault.kind == kind
    assert len(await fake.journal()) <= 1


async def test_an_answer_in_one_piece_takes_as_long_as_it_takes(fake: FakeProvider, adapters: dict[Wire, Any]) -> None:
    await fake.script(
        Script(steps=(Step(reply=Reply(text="At last.", tool_calls=(Call(name="lookup"),))),), latency=SLOW)
    )
    hasty = endpoint(fake.openai_url, first_token_s=0.3)
    fault, _ = await failed(adapters["openai-chat"], hasty, call(tools=TOOLS))
    assert fault.kind == "timeout"
    said, _ = await answered(adapters["openai-chat"], hasty, call(tools=TOOLS, streamed=False))
    assert (said.text, [one.name for one in said.tool_calls]) == ("At last.", ["lookup"])


@wires
@pytest.mark.parametrize(
    ("row", "params"),
    [
        (28, {}),
        (35, {}),
        (35, {"size": 7, "crlf": False}),
        (37, {}),
        (36, {"what": "absent"}),
        (36, {"what": "every"}),
        (36, {"what": "end"}),
        (36, {"what": "zeros"}),
    ],
)
async def test_rows_that_give_the_same_text(
    fake: FakeProvider, adapters: dict[Wire, Any], wire: Wire, row: int, params: dict[str, Any]
) -> None:
    text = "naïve 日本語 🎉 and a good deal more"
    await fake.script(Script(steps=(Step(reply=text, fault=Fault(row=row, params=params)),)))
    answer, _ = await answered(adapters[wire], endpoint(fake.openai_url, wire), call())
    assert (answer.text, answer.finish) == (text, "stop")
    assert (answer.tokens is None) == (row == 36 and params["what"] in {"absent", "zeros"})


@wires
async def test_cancelling_is_seen_by_the_provider(fake: FakeProvider, adapters: dict[Wire, Any], wire: Wire) -> None:
    await fake.reset()
    await fake.script(Script(steps=(Step(reply="a b c d e f g h"),), latency=Latency(chunk=0.5)))
    deltas = adapters[wire].stream(endpoint(fake.openai_url, wire), call())
    async for delta in deltas:
        if isinstance(delta, TextDelta):
            break
    await deltas.aclose()
    await asyncio.sleep(0.7)
    assert (await fake.journal())[-1].aborted_by_client


async def test_vectors_and_ranks(fake: FakeProvider) -> None:
    await fake.script(Script())
    embedder, reranker = OpenAIEmbeddings(), HttpReranker()
    try:
        at = endpoint(fake.openai_url)
        embedded = await embedder.embed(at, "e", ("a cat", "a dog", "a cat"), 8)
        ranked = await reranker.rerank(at, "r", "cats", ("about dogs", "cats"), None)
    finally:
        await embedder.close()
        await reranker.close()
    assert [len(vector) for vector in embedded.vectors] == [8, 8, 8]
    assert embedded.vectors[0] == embedded.vectors[2] != embedded.vectors[1]
    assert embedded.tokens.prompt > 0
    assert [one.index for one in ranked] == [1, 0]


@wires
async def test_llmock_agrees(llmock: Any, adapters: dict[Wire, Any], wire: Wire) -> None:
    at = endpoint(llmock.base_url("openai"), wire)
    llmock.reply("Hello there")
    answer, deltas = await answered(adapters[wire], at, call())
    assert (answer.text, answer.finish) == ("Hello there", "stop")
    assert len([delta for delta in deltas if isinstance(delta, TextDelta)]) > 1
    llmock.call_tool("lookup", {"city": "Oslo"})
    answer, _ = await answered(adapters[wire], at, call(tools=TOOLS))
    assert [(one.name, one.broken) for one in answer.tool_calls] == [("lookup", None)]
    llmock.truncate(after_chunks=2)
    fault, _ = await failed(adapters[wire], at, call())
    assert fault.kind == "stream_broken"
    llmock.rate_limit(retry_after=3)
    fault, _ = await failed(adapters[wire], at, call())
    assert (fault.kind, fault.retry_after_s) == ("rate_limited", 3.0)
