"""The Anthropic wire against fakes that check what they are sent: ours, strict, and llmock as a second opinion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from perdure_activities.models.anthropic_messages import AnthropicMessages
from perdure_activities.models.protocol import Endpoint, LoadedFile, ModelCall, ModelFault
from perdure_activities.models.stream.accumulate import Accumulated, Accumulator
from perdure_activities.models.structured import read
from perdure_fake import Call, FakeProvider, Fault, Match, Reply, Script, Step
from perdure_graph.models.messages import (
    AnswerSchema,
    FilePart,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolMessage,
    ToolSpec,
    user,
)

FEATURES = frozenset(
    {"tool-call", "multi-tool-call", "structured-output", "reasoning-effort", "adaptive-thinking", "prompt-cache"}
    | {"strict-tools", "mid-system", "tool-choice", "vision", "document"}
)
LOOK = ToolSpec(name="look", parameters={"type": "object", "properties": {"at": {"type": "string"}}})
ASK = ModelCall(model="claude-opus-5", messages=(user("Hi"),), features=FEATURES, tools=(LOOK,))
HELLO = "Hello there, my friend"


@pytest.fixture
async def fake() -> AsyncIterator[FakeProvider]:
    async with FakeProvider.start_here() as running:
        yield running


async def hear(base_url: str, asked: ModelCall = ASK, **changes: Any) -> Accumulated:
    limits: dict[str, Any] = {"first_token_s": 1.0, "between_s": 0.5, "max_reply_bytes": 1_000_000, **changes}
    at = Endpoint("main", "anthropic", "anthropic-messages", base_url, "sk-1", profile="anthropic", **limits)
    at = replace(at, allow_private=True)
    adapter, whole = AnthropicMessages(), Accumulator(asked, "anthropic")
    try:
        async for delta in adapter.stream(at, asked):
            whole.take(delta)
    finally:
        await adapter.close()
    return whole.accumulated()


async def test_a_round_with_thinking_tools_and_files(fake: FakeProvider) -> None:
    reply = Reply(text="I look.", thinking="Where?", tool_calls=(Call(name="look", arguments={"at": "sea"}),) * 2)
    await fake.script(Script(steps=(Step(match=Match(nth=1), reply=reply), Step(reply="Waves."))))
    picture = FilePart(kind="image", file={"id": "1"})
    asked = replace(
        ASK,
        messages=(SystemMessage(text="Be kind."), user("What is there?", picture)),
        files={"1": LoadedFile("image/png", b"\x89PNG\r\n\x1a\n", name="a.png")},
        parameters={"thinking": {"type": "adaptive"}, "effort": "high"},
        stop=("END",),
        user="someone",
    )
    first = await hear(fake.anthropic_url, asked)
    assert (first.text, first.reasoning, first.finish, first.simulated) == ("I look.", "Where?", "tool_calls", True)
    thought = first.message.content[0]
    assert isinstance(thought, ThinkingPart)
    assert thought.signature
    results = [
        ToolMessage(call_id=made.id, name=made.name, content=(TextPart(text="waves"),)) for made in first.tool_calls
    ]
    again = replace(
        asked, messages=(*asked.messages, first.message, *reversed(results), SystemMessage(text="Briefly."))
    )
    assert (await hear(fake.anthropic_url, replace(again, messages=(*again.messages, user("So?"))))).text == "Waves."
    assert {entry.status for entry in await fake.journal()} == {200}


async def test_tokens_are_those_that_the_provider_bills(fake: FakeProvider) -> None:
    answer = await hear(fake.anthropic_url)
    (entry,) = await fake.journal()
    assert answer.tokens is not None
    assert entry.usage is not None
    assert (answer.tokens.prompt, answer.tokens.completion) == (entry.usage.prompt, entry.usage.completion)


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "size": {"type": "integer"}}}


@pytest.mark.parametrize("by", ["native", "tool"])
async def test_structured_output(fake: FakeProvider, by: Any) -> None:
    await fake.script(Script(steps=(Step(reply=Reply(structured={"city": "Oslo"})),)))
    asked = replace(ASK, tools=(), answer=AnswerSchema(schema=SCHEMA), answer_by=by)
    answer = await hear(fake.anthropic_url, asked)
    assert (read(answer.text, SCHEMA), answer.finish, answer.tool_calls) == ({"city": "Oslo"}, "stop", ())


@pytest.mark.parametrize(
    ("row", "params", "kind"),
    [
        (1, {}, "rate_limited"),
        (2, {}, "rate_limited"),
        (3, {}, "rate_limited"),
        (4, {}, "quota_exhausted"),
        (5, {}, "auth"),
        (6, {}, "quota_exhausted"),
        (7, {}, "permission"),
        (8, {}, "not_found"),
        (9, {}, "context_overflow"),
        (11, {}, "bad_request"),
        (12, {}, "timeout"),
        (13, {}, "server_error"),
        (14, {}, "server_error"),
        (15, {}, "overloaded"),
        (16, {}, "overloaded"),
        (17, {}, "connection"),
        (18, {}, "connection"),
        (19, {}, "timeout"),
        (20, {}, "stream_broken"),
        (21, {}, "stream_broken"),
        (22, {}, "stream_broken"),
        (23, {}, "overloaded"),
        (24, {}, "protocol_error"),
        (25, {}, "protocol_error"),
        (26, {}, "protocol_error"),
        (27, {}, "server_error"),
        (41, {}, "protocol_error"),
        (42, {}, "protocol_error"),
    ],
)
async def test_rows_that_fail(fake: FakeProvider, row: int, params: dict[str, Any], kind: str) -> None:
    await fake.script(Script(steps=(Step(reply=HELLO, fault=Fault(row=row, params=params)),)))
    with pytest.raises(ModelFault) as caught:
        await hear(fake.refused_url if row == 17 else fake.anthropic_url)
    assert caught.value.kind == kind
    assert len(await fake.journal()) == (0 if row == 17 else 1), "the SDK must not try again"


@pytest.mark.parametrize(
    ("row", "params", "finish", "calls"),
    [
        (28, {}, "stop", []),
        (29, {}, "tool_calls", [False]),
        (30, {}, "length", [False]),
        (31, {}, "tool_calls", [True, True]),
        (32, {"what": "duplicate"}, "tool_calls", [True, True]),
        (32, {"what": "many"}, "tool_calls", [True] * 16 + [False] * 24),
        (33, {}, "refusal", []),
        (34, {"what": "pause_turn"}, "length", []),
        (34, {"what": "model_context_window_exceeded"}, "length", []),
        (35, {}, "stop", []),
        (36, {}, "stop", []),
        (37, {}, "stop", []),
    ],
)
async def test_rows_that_are_answers(
    fake: FakeProvider, row: int, params: dict[str, Any], finish: str, calls: list[bool]
) -> None:
    await fake.script(Script(steps=(Step(reply=HELLO, fault=Fault(row=row, params=params)),)))
    answer = await hear(fake.anthropic_url)
    assert answer.finish == finish
    assert [made.broken is None for made in answer.tool_calls] == calls
    assert len({made.id for made in answer.tool_calls}) == len(calls)
    assert answer.text.startswith(HELLO) or row == 33
    assert (answer.tokens is None) is (row == 36)


async def test_llmock_hears_and_says_the_same() -> None:
    from llmock.testing import LLMockServer

    with LLMockServer() as server:
        base = server.base_url("anthropic")
        text = await hear(base, replace(ASK, tools=(), features=frozenset()))
        tool = await hear(base, replace(ASK, messages=(user("look at the sea"),), tool_choice="required"))
    assert text.text
    assert (text.finish, text.simulated) == ("stop", False)
    assert [made.name for made in tool.tool_calls] == ["look"]
    assert tool.tool_calls[0].broken is None
