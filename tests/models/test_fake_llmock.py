"""A second opinion: the same calls to the fake and to llmock, by another author, through the same SDKs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import openai
import pytest
from anthropic import AsyncAnthropic
from llmock.scenarios import Reply as MockReply
from llmock.scenarios import ToolCall as MockCall
from llmock.testing import LLMockServer
from openai import AsyncOpenAI

from perdure_fake import Call, FakeProvider, Match, Reply, Script, Step

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "weather?"}]}
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: dict[str, Any] = {"tools": [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]}
OWN: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 99, "messages": CHAT["messages"]}
OWN_TOOLS: dict[str, Any] = {"tools": [{"name": "weather", "input_schema": TOOL}]}


class Pair:
    """The two servers, and a client of each SDK for both; first ours."""

    def __init__(self, fake: FakeProvider, mock: LLMockServer) -> None:
        self.mock = mock
        urls = (fake.openai_url, mock.base_url("openai"))
        self.openai = [AsyncOpenAI(api_key="k", base_url=url, max_retries=0) for url in urls]
        urls = (fake.anthropic_url, mock.base_url("anthropic"))
        self.anthropic = [AsyncAnthropic(api_key="k", base_url=url, max_retries=0) for url in urls]

    def call(self) -> None:
        """Have llmock answer the next request with the tool call that ours always answers with."""
        call = MockCall(name="weather", arguments={"city": "Bern in Switzerland"})
        self.mock.state.scenarios.clear()
        self.mock.state.scenarios.add(MockReply(text=None, tool_calls=(call,)))


@pytest.fixture(scope="module")
def mock() -> Iterator[LLMockServer]:
    server = LLMockServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
async def pair(mock: LLMockServer) -> AsyncIterator[Pair]:
    call = Call(name="weather", arguments={"city": "Bern in Switzerland"})
    steps = (Step(match=Match(has_tool="weather"), reply=Reply(tool_calls=(call,))), Step(reply="It is fine today."))
    async with FakeProvider.start_here(Script(steps=steps)) as fake:
        yield Pair(fake, mock)


def fields(value: Any, path: str = "") -> set[str]:
    """Every field that is there and says something, all the way down."""
    if isinstance(value, dict):
        return {one for name, part in value.items() for one in fields(part, f"{path}.{name}")}
    if isinstance(value, list):
        return {one for part in value for one in fields(part, f"{path}[]")} or {path}
    return set() if value is None else {path}


def steps(events: list[str]) -> list[str]:
    """The course of a stream: equal events in a row count once, pings not at all."""
    course = [event for event in events if event != "ping"]
    return [event for index, event in enumerate(course) if index == 0 or course[index - 1] != event]


async def test_bodies_have_all_fields_that_llmock_gives(pair: Pair) -> None:
    for more in ({}, TOOLS):
        if more:
            pair.call()
        ours, theirs = [await client.chat.completions.create(**CHAT, **more) for client in pair.openai]
        assert fields(theirs.to_dict()) - fields(ours.to_dict()) == set()
    for more in ({}, OWN_TOOLS):
        if more:
            pair.call()
        mine, other = [await client.messages.create(**OWN, **more) for client in pair.anthropic]
        assert fields(other.to_dict()) - fields(mine.to_dict()) == set()
        assert mine.stop_reason == other.stop_reason
    one, two = [await client.responses.create(model="gpt-4o", input="hi") for client in pair.openai]
    assert fields(two.to_dict()) - fields(one.to_dict()) - {".store"} == set()


@pytest.mark.parametrize("tools", [False, True])
async def test_chat_streams_take_the_same_course(pair: Pair, tools: bool) -> None:
    courses: list[list[str]] = []
    kinds: list[set[str]] = []
    if tools:
        pair.call()
    for client in pair.openai:
        more: Any = TOOLS if tools else {}
        stream: Any = await client.chat.completions.create(
            **CHAT, **more, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        course = ["usage" if not c.choices else "end" if c.choices[0].finish_reason else "delta" for c in chunks]
        courses.append(steps(course))
        kinds.append({one for chunk in chunks for one in fields(chunk.to_dict())})
    assert courses[0] == courses[1] == ["delta", "end", "usage"]
    assert kinds[1] - kinds[0] == set()


@pytest.mark.parametrize("tools", [False, True])
async def test_messages_streams_take_the_same_course(pair: Pair, tools: bool) -> None:
    courses: list[list[str]] = []
    kinds: list[set[str]] = []
    if tools:
        pair.call()
    for client in pair.anthropic:
        more: Any = OWN_TOOLS if tools else {}
        stream: Any = await client.messages.create(**OWN, **more, stream=True)
        events = [event async for event in stream]
        courses.append(steps([event.type for event in events]))
        kinds.append({one for event in events for one in fields(event.to_dict())})
    assert courses[0] == courses[1]
    assert kinds[1] - kinds[0] == set()


async def test_responses_streams_take_the_same_course(pair: Pair) -> None:
    courses: list[list[str]] = []
    for client in pair.openai:
        stream: Any = await client.responses.create(model="gpt-4o", input="hi", stream=True)
        courses.append(steps([event.type async for event in stream]))
    assert courses[0] == courses[1]


@pytest.mark.parametrize("status", [401, 404, 429, 500])
async def test_errors_are_raised_as_the_same_classes(pair: Pair, status: int) -> None:
    from llmock.scenarios import Fail

    async with FakeProvider.start_here(
        Script.model_validate({"steps": [{"fault": {401: 5, 404: 8, 429: 1, 500: 13}[status]}]})
    ) as fake:
        ours = [AsyncOpenAI(api_key="k", base_url=fake.openai_url, max_retries=0)]
        own = [AsyncAnthropic(api_key="k", base_url=fake.anthropic_url, max_retries=0)]
        raised: list[type[Exception]] = []
        for client in (*ours, pair.openai[1]):
            pair.mock.state.scenarios.clear()
            pair.mock.state.scenarios.add(Fail(status))
            with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
                await client.chat.completions.create(**CHAT)
            raised.append(type(caught.value))
        for client in (*own, pair.anthropic[1]):
            pair.mock.state.scenarios.clear()
            pair.mock.state.scenarios.add(Fail(status))
            with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as caught:
                await client.messages.create(**OWN)
            raised.append(type(caught.value))
        pair.mock.state.scenarios.clear()
    assert raised[0] is raised[1]
    assert raised[2] is raised[3]
