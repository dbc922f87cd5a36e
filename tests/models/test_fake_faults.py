"""Every row of the fault table, served by the fake and seen through the SDKs as the table says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import anthropic as a
import httpx2
import openai as o
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from perdure_fake import Call, FakeProvider, Fault, Reply, Script, Step
from perdure_fake.faults import FAULTS

TEXT = "Grüße aus Köln, 你好 and more words to send"
STEPS = {"openai-chat": "chat", "openai-responses": "responses", "anthropic-messages": "messages"}
WIRES = tuple(STEPS)


@dataclass
class Asking:
    """Both SDKs, pointed at one fake provider; a read that takes longer than a second times out."""

    fake: FakeProvider
    openai: AsyncOpenAI
    anthropic: AsyncAnthropic

    async def serve(self, row: int | str, reply: Reply | None = None, **params: Any) -> None:
        await self.fake.reset()
        await self.fake.script(
            Script(steps=(Step(reply=reply or Reply(text=TEXT), fault=Fault(row=row, params=params)),))
        )

    async def ask(self, wire: str, *, stream: bool = False, **more: Any) -> Any:
        """A whole reply, or the list of a stream's events."""
        match wire:
            case "openai-chat":
                asked: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
                made = self.openai.chat.completions.create(**asked, stream=stream)
            case "openai-responses":
                made = self.openai.responses.create(**{"model": "m", "input": "hi", **more}, stream=stream)
            case _:
                asked = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}], **more}
                made = self.anthropic.messages.create(**asked, stream=stream)
        reply = await made
        return [event async for event in reply] if stream else reply

    async def fails(self, wire: str, *, stream: bool = False, **more: Any) -> Exception:
        with pytest.raises(Exception) as caught:
            await self.ask(wire, stream=stream, **more)
        return caught.value


@pytest.fixture(scope="module")
async def asking() -> AsyncIterator[Asking]:
    async with FakeProvider.start_process() as fake:
        timeout = httpx2.Timeout(1.0)
        openai = AsyncOpenAI(api_key="sk-o", base_url=fake.openai_url, max_retries=0, timeout=timeout)
        anthropic = AsyncAnthropic(api_key="sk-a", base_url=fake.anthropic_url, max_retries=0, timeout=timeout)
        async with openai, anthropic:
            yield Asking(fake, openai, anthropic)


def said(wire: str, events: list[Any]) -> str:
    """Text of a stream."""
    match wire:
        case "openai-chat":
            return "".join(e.choices[0].delta.content or "" for e in events if e.choices)
        case "openai-responses":
            return "".join(e.delta for e in events if e.type == "response.output_text.delta")
        case _:
            return "".join(
                e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta"
            )


STATUSES: list[tuple[int, dict[str, Any], int, type[Exception], type[Exception]]] = [
    (1, {}, 429, o.RateLimitError, a.RateLimitError),
    (2, {}, 429, o.RateLimitError, a.RateLimitError),
    (3, {}, 429, o.RateLimitError, a.RateLimitError),
    (4, {}, 429, o.RateLimitError, a.RateLimitError),
    (5, {}, 401, o.AuthenticationError, a.AuthenticationError),
    (6, {}, 402, o.APIStatusError, a.PaymentRequiredError),
    (7, {}, 403, o.PermissionDeniedError, a.PermissionDeniedError),
    (8, {}, 404, o.NotFoundError, a.NotFoundError),
    (9, {}, 400, o.BadRequestError, a.BadRequestError),
    (11, {}, 413, o.APIStatusError, a.ContentTooLargeError),
    (12, {"status": 408}, 408, o.APIStatusError, a.RequestTimeoutError),
    (12, {"status": 409}, 409, o.ConflictError, a.ConflictError),
    (13, {}, 500, o.InternalServerError, a.InternalServerError),
    (14, {}, 502, o.InternalServerError, a.InternalServerError),
    (15, {"status": 503}, 503, o.InternalServerError, a.ServiceUnavailableError),
    (15, {"status": 504}, 504, o.InternalServerError, a.GatewayTimeoutError),
    (16, {}, 529, o.InternalServerError, a.OverloadedError),
]


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize(("row", "params", "status", "by_openai", "by_anthropic"), STATUSES)
async def test_statuses(
    asking: Asking,
    wire: str,
    row: int,
    params: dict[str, Any],
    status: int,
    by_openai: type[Exception],
    by_anthropic: type[Exception],
) -> None:
    await asking.serve(row, **params)
    error: Any = await asking.fails(wire, stream=bool(row % 2))
    assert type(error) is (by_anthropic if wire == "anthropic-messages" else by_openai) or row == 4
    assert (error.status_code, error.response.headers["x-perdure-simulated"]) == (status, "1")
    if row != 14:
        assert error.body["error"]["message"] if wire == "anthropic-messages" else error.body["message"]
    entry = (await asking.fake.journal())[0]
    assert (entry.fault, entry.status, entry.usage, entry.finished) == (row, status, None, True)


async def test_what_the_errors_say(asking: Asking) -> None:
    await asking.serve(3, form="ms", seconds=2.5)
    assert (await headers(asking))["retry-after-ms"] == "2500"
    await asking.serve(3, form="date", seconds=-60)
    assert (await headers(asking))["retry-after"].endswith("GMT")
    await asking.serve(2)
    assert (await headers(asking))["retry-after"] == "300"

    await asking.serve(4)
    error: Any = await asking.fails("openai-chat")
    assert (error.code, error.type) == ("insufficient_quota", "insufficient_quota")
    error = await asking.fails("anthropic-messages")
    assert isinstance(error, a.RateLimitError)
    assert error.error_code == "enforced_spend_limit_reached"

    await asking.serve(9)
    assert (await asking.fails("openai-chat")).code == "context_length_exceeded"  # type: ignore[attr-defined]
    error = await asking.fails("anthropic-messages")
    assert (error.type, error.api_message.startswith("prompt is too long")) == ("invalid_request_error", True)

    await asking.serve(14, size=5000)
    error = await asking.fails("openai-chat")
    assert "<html>" in error.body
    assert len(error.body) > 5000


async def headers(asking: Asking) -> Any:
    error: Any = await asking.fails("openai-chat")
    return error.response.headers


@pytest.mark.parametrize("wire", WIRES)
async def test_10_only_the_parameter_is_refused(asking: Asking, wire: str) -> None:
    await asking.serve(10, param="temperature")
    error: Any = await asking.fails(wire, extra_body={"temperature": 0.2})
    assert error.status_code == 400
    assert "temperature" in str(error) if wire == "anthropic-messages" else error.param == "temperature"
    await asking.ask(wire)


async def test_17_refused(asking: Asking) -> None:
    async with AsyncOpenAI(api_key="k", base_url=asking.fake.refused_url, max_retries=0) as client:
        with pytest.raises(o.APIConnectionError):
            await client.models.list()
    await asking.serve(17)
    assert isinstance(await asking.fails("anthropic-messages"), a.APIConnectionError)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("where", ["headers", "body"])
async def test_18_closed(asking: Asking, wire: str, where: str, how: str) -> None:
    await asking.serve(18, where=where, how=how)
    error = await asking.fails(wire)
    kind = a.APIConnectionError if wire == "anthropic-messages" else o.APIConnectionError
    assert isinstance(error, kind)
    entry = (await asking.fake.journal())[0]
    assert entry.aborted_by_client is False
    assert (entry.usage is None) == (where == "headers")


@pytest.mark.parametrize("wire", WIRES)
async def test_19_no_headers(asking: Asking, wire: str) -> None:
    await asking.serve(19)
    kind = a.APITimeoutError if wire == "anthropic-messages" else o.APITimeoutError
    assert isinstance(await asking.fails(wire), kind)
    await asking.serve(19, seconds=0.2)
    await asking.ask(wire)
    assert (await asking.fake.journal())[0].simulated_s == pytest.approx(0.2)


@pytest.mark.parametrize("wire", WIRES)
async def test_20_21_stalled_and_cut_streams(asking: Asking, wire: str) -> None:
    await asking.serve(20)
    error = await asking.fails(wire, stream=True)
    assert isinstance(error, httpx2.ReadTimeout if wire == "anthropic-messages" else o.APITimeoutError)
    entry = await ended(asking)
    assert (entry.aborted_by_client, entry.text) == (True, "Grüße")
    assert entry.usage is not None
    assert entry.usage.completion == 1

    for how in ("close", "reset"):
        await asking.serve(21, after=2, how=how)
        error = await asking.fails(wire, stream=True)
        expected: Any = (
            (httpx2.RemoteProtocolError, httpx2.ReadError) if wire == "anthropic-messages" else o.APIConnectionError
        )
        assert isinstance(error, expected)
        entry = await ended(asking)
        assert (entry.aborted_by_client, entry.text) == (False, "Grüße aus")
        assert entry.usage is not None
        assert entry.usage.completion == 2


async def ended(asking: Asking) -> Any:
    """The journal's entry, once the server is done with it."""
    async with asyncio.timeout(2):
        while not (entry := (await asking.fake.journal())[0]).done:
            await asyncio.sleep(0.02)
        return entry


@pytest.mark.parametrize("wire", WIRES)
async def test_22_a_clean_end_that_says_nothing(asking: Asking, wire: str) -> None:
    await asking.serve(22)
    events = await asking.ask(wire, stream=True)
    assert said(wire, events) == TEXT
    ends = {"message_stop", "message_delta", "response.completed"}
    assert not any(getattr(event, "type", "") in ends for event in events)
    if wire == "openai-chat":
        assert all(event.choices[0].finish_reason is None for event in events)
        await asking.serve(22, missing="done")
        assert (await asking.ask(wire, stream=True))[-1].choices[0].finish_reason == "stop"


async def test_23_an_error_in_the_stream(asking: Asking) -> None:
    await asking.serve(23, error="server_error", message="went wrong")
    error: Any = await asking.fails("openai-chat", stream=True)
    assert type(error) is o.APIError
    assert (error.code, error.message) == ("server_error", "went wrong")
    await asking.serve(23)
    error = await asking.fails("anthropic-messages", stream=True)
    assert type(error) is a.APIStatusError
    assert (error.status_code, error.type) == (200, "overloaded_error")
    events = await asking.ask("openai-responses", stream=True)
    assert (events[-1].type, events[-1].message) == ("error", "Overloaded")
    await asking.serve(23, how="failed")
    events = await asking.ask("openai-responses", stream=True)
    assert (events[-1].type, events[-1].response.error.code) == ("response.failed", "server_error")


@pytest.mark.parametrize("wire", WIRES)
async def test_24_25_26_what_cannot_be_parsed(asking: Asking, wire: str) -> None:
    await asking.serve(24)
    assert isinstance(await asking.fails(wire, stream=True), json.JSONDecodeError)
    await asking.serve(25)
    assert isinstance(await asking.ask(wire), str)
    assert await asking.ask(wire, stream=True) == []
    for empty in (True, False):
        await asking.serve(26, empty=empty)
        assert isinstance(await asking.fails(wire), json.JSONDecodeError)


async def test_27_28_answers_without_content(asking: Asking) -> None:
    await asking.serve(27)
    reply = await asking.ask("openai-chat")
    assert (reply.choices, reply.model_extra["error"]["message"]) == (None, "The model crashed")
    reply = await asking.ask("anthropic-messages")
    assert (reply.type, reply.content) == ("error", None)
    assert type(await asking.fails("openai-chat", stream=True)) is o.APIError
    for what, value in (("null", None), ("empty", [])):
        await asking.serve(27, what=what)
        assert (await asking.ask("openai-chat")).choices == value
        assert (await asking.ask("anthropic-messages")).content == value
        assert all(not chunk.choices for chunk in await asking.ask("openai-chat", stream=True))
    await asking.serve(28)
    for wire in WIRES:
        assert await asking.ask(wire, stream=True) == []


TOOLS = ("look_up", "note")
CHAT_TOOLS: Any = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in TOOLS]
FLAT_TOOLS: Any = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in TOOLS]
OWN_TOOLS: Any = [{"name": name, "input_schema": {"type": "object"}} for name in TOOLS]


async def test_29_30_arguments_that_are_no_json(asking: Asking) -> None:
    call = Reply(tool_calls=(Call(name="note", arguments={"text": "a long text"}),))
    for row, finish, end in ((29, "tool_calls", "tool_use"), (30, "length", "max_tokens")):
        await asking.serve(row, call)
        reply = await asking.ask("openai-chat", tools=CHAT_TOOLS)
        function = reply.choices[0].message.tool_calls[0].function
        assert (function.name, reply.choices[0].finish_reason) == ("note", finish)
        with pytest.raises(json.JSONDecodeError):
            json.loads(function.arguments)
        message = await asking.ask("anthropic-messages", tools=OWN_TOOLS)
        assert (message.stop_reason, message.content[0].input) == (end, {})
        events = await asking.ask("anthropic-messages", stream=True, tools=OWN_TOOLS)
        pieces = [e.delta.partial_json for e in events if e.type == "content_block_delta"]
        with pytest.raises(json.JSONDecodeError):
            json.loads("".join(pieces))
    answer = await asking.ask("openai-responses", tools=FLAT_TOOLS)
    assert (answer.status, answer.output[0].status) == ("incomplete", "incomplete")


async def test_31_odd_indexes_and_ids(asking: Asking) -> None:
    async def deltas(quirk: str) -> list[Any]:
        await asking.serve(31, quirk=quirk)
        chunks = await asking.ask("openai-chat", stream=True, tools=CHAT_TOOLS)
        return [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]

    assert {call.index for call in await deltas("same_index")} == {0}
    assert {call.index for call in await deltas("missing_index")} == {None}
    assert {call.index for call in await deltas("first_index_1")} == {1, 2}
    assert all(call.id for call in await deltas("repeated_id"))
    assert not any(call.id for call in await deltas("no_id"))
    turns = [call.index for call in await deltas("interleaved")]
    assert turns[:4] == [0, 1, 0, 1]
    names = [call.function.name for call in await deltas("same_index") if call.function.name]
    assert names == list(TOOLS)


async def test_32_unknown_tools_equal_ids_many_calls(asking: Asking) -> None:
    await asking.serve(32)
    assert (await asking.ask("anthropic-messages", tools=OWN_TOOLS)).content[-1].name == "no_such_tool"
    await asking.serve(32, what="duplicate")
    calls = (await asking.ask("openai-chat", tools=CHAT_TOOLS)).choices[0].message.tool_calls
    assert len(calls) == 2
    assert calls[0].id == calls[1].id
    await asking.serve(32, what="many")
    assert len((await asking.ask("openai-chat", tools=CHAT_TOOLS)).choices[0].message.tool_calls) == 40
    answer = await asking.ask("openai-responses", tools=FLAT_TOOLS)
    assert len([item for item in answer.output if item.type == "function_call"]) == 40


async def test_33_34_refusals_and_pauses(asking: Asking) -> None:
    await asking.serve(33)
    assert (await asking.ask("openai-chat")).choices[0].message.refusal == "I can't help with that."
    assert (await asking.ask("openai-responses")).output[0].content[0].type == "refusal"
    message = await asking.ask("anthropic-messages")
    assert (message.stop_reason, message.stop_details.explanation) == ("refusal", "I can't help with that.")
    await asking.serve(33, how="content_filter")
    assert (await asking.ask("openai-chat")).choices[0].finish_reason == "content_filter"
    assert (await asking.ask("openai-responses")).incomplete_details.reason == "content_filter"

    await asking.serve(34)
    paused = await asking.ask("anthropic-messages")
    assert paused.stop_reason == "pause_turn"
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": [b.to_dict() for b in paused.content]}]
    assert (await asking.ask("anthropic-messages", messages=turns)).stop_reason == "pause_turn"
    turns[1]["content"] = "something else"
    assert "prefill" in str(await asking.fails("anthropic-messages", messages=turns))
    await asking.serve(34, what="model_context_window_exceeded")
    assert (await asking.ask("anthropic-messages")).stop_reason == "model_context_window_exceeded"


@pytest.mark.parametrize("wire", WIRES)
async def test_35_odd_bytes_are_the_same_text(asking: Asking, wire: str) -> None:
    await asking.serve(35)
    assert said(wire, await asking.ask(wire, stream=True)) == TEXT
    await asking.ask(wire)


async def test_36_usage_as_servers_have_it(asking: Asking) -> None:
    options = {"stream_options": {"include_usage": True}}
    await asking.serve(36, what="absent")
    assert not any(chunk.usage for chunk in await asking.ask("openai-chat", stream=True, **options))
    assert (await asking.ask("openai-chat")).usage is None
    await asking.serve(36, what="every")
    counts = [c.usage.completion_tokens for c in await asking.ask("openai-chat", stream=True, **options) if c.usage]
    assert counts == sorted(counts)
    assert counts[-1] > 5
    deltas = [
        e.usage.output_tokens for e in await asking.ask("anthropic-messages", stream=True) if e.type == "message_delta"
    ]
    assert len(deltas) == 2
    await asking.serve(36, what="zeros")
    assert (await asking.ask("openai-chat")).usage.total_tokens == 0
    await asking.serve(36, what="end")
    events = await asking.ask("anthropic-messages", stream=True)
    assert events[0].message.usage is None
    assert next(e for e in events if e.type == "message_delta").usage.input_tokens > 0


async def test_37_thinking_as_servers_have_it(asking: Asking) -> None:
    for field in ("reasoning_content", "reasoning"):
        await asking.serve(37, field=field)
        reply = await asking.ask("openai-chat")
        assert reply.choices[0].message.model_extra == {field: "Let me think about it."}
        chunks = await asking.ask("openai-chat", stream=True)
        pieces = [(c.choices[0].delta.model_extra or {}).get(field, "") for c in chunks]
        assert "".join(pieces) == "Let me think about it."
    message = await asking.ask("anthropic-messages")
    assert (message.content[0].type, bool(message.content[0].signature)) == ("thinking", True)
    await asking.serve(37, field="redacted")
    assert (await asking.ask("anthropic-messages")).content[0].type == "redacted_thinking"


@pytest.mark.parametrize(("row", "params"), [(38, {"every": 0.1}), (39, {}), (40, {})])
@pytest.mark.parametrize("wire", WIRES)
async def test_38_39_40_slow_streams_and_clients_that_leave(
    asking: Asking, wire: str, row: int, params: dict[str, Any]
) -> None:
    await asking.serve(row, **params)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await asking.ask(wire, stream=True)
    loop = asyncio.get_running_loop()
    left = loop.time()
    entry = await ended(asking)
    assert entry.aborted_by_client
    assert not entry.finished
    assert entry.aborted_at - left < 1.0
    assert entry.text.startswith("word0 word1")
    assert 0 < entry.usage.completion < 30


async def test_41_a_redirect_carries_the_prompt_away_from_those_who_follow(asking: Asking) -> None:
    await asking.serve(41)
    await asking.fails("openai-chat")
    first, second = await asking.fake.journal()
    assert (first.status, second.query, second.key) == (307, {"redirected": "1"}, "")
    assert second.headers["host"].startswith("localhost")
    assert isinstance(second.body, dict)
    assert second.body["messages"] == [{"role": "user", "content": "hi"}]
    async with o.DefaultAsyncHttpxClient(follow_redirects=False) as http:
        strict = AsyncOpenAI(api_key="sk-o", base_url=asking.fake.openai_url, max_retries=0, http_client=http)
        with pytest.raises(o.APIStatusError):
            await strict.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    assert len(await asking.fake.journal()) == 3


@pytest.mark.parametrize("what", ["stream", "line", "body"])
async def test_42_more_than_anybody_wants(asking: Asking, what: str) -> None:
    await asking.serve(42, what=what, size=1 << 20)
    for wire in WIRES:
        if what == "body":
            assert len(str(await asking.ask(wire))) >= 1 << 20
        else:
            assert len(said(wire, await asking.ask(wire, stream=True))) >= 1 << 20


@pytest.mark.parametrize("row", sorted(FAULTS))
@pytest.mark.parametrize("stream", [False, True])
async def test_every_row_is_served_on_every_wire_and_the_next_call_works(
    asking: Asking, row: int, stream: bool
) -> None:
    """Whatever was done to a connection, the server and the client's pool are fit for the next one."""
    quick: dict[int, dict[str, Any]] = {19: {"seconds": 0.01}, 20: {"seconds": 0.01}, 42: {"size": 1 << 17}}
    quick |= {one: {"every": 0.001, "count": 5} for one in (38, 39, 40)}
    for wire in WIRES:
        await asking.serve(row, **quick.get(row, {}))
        try:
            await asking.ask(wire, stream=stream)
        except (o.OpenAIError, a.AnthropicError, httpx2.HTTPError, ValueError) as error:
            assert row in {*range(1, 19), 21, 23, 24, 26, 27, 41}, repr(error)
        entry = await ended(asking)
        assert (entry.fault, entry.wire) == (row, wire)
        await asking.fake.script(Script())
        assert await asking.ask(wire)


async def test_faults_of_the_plain_endpoints(asking: Asking) -> None:
    for row in (1, 5, 13, 18, 25, 26):
        await asking.fake.script(Script(steps=(Step(match={"wire": "openai-embeddings"}, fault=row),)))  # type: ignore[arg-type]
        try:
            reply: Any = await asking.openai.embeddings.create(model="e", input="x")
            assert row == 25, reply
        except (o.OpenAIError, ValueError, AttributeError):
            pass
        await asking.ask("openai-chat")


async def test_parameters_of_the_wrong_type_are_named(asking: Asking) -> None:
    await asking.serve(1, retry_after="soon")
    assert "fault 1 cannot be served with {'retry_after': 'soon'}" in str(await asking.fails("openai-chat"))


@pytest.mark.parametrize("row", sorted(FAULTS))
async def test_every_row_is_served_on_the_old_completions_too(asking: Asking, row: int) -> None:
    quick: dict[int, dict[str, Any]] = {19: {"seconds": 0.01}, 20: {"seconds": 0.01}, 42: {"size": 1 << 17}}
    quick |= {one: {"every": 0.001, "count": 5} for one in (38, 39, 40)}
    await asking.serve(row, **quick.get(row, {}))
    for stream in (False, True):
        try:
            reply: Any = await asking.openai.completions.create(model="m", prompt="hi", stream=stream)
            if stream:
                assert "error" not in str([chunk async for chunk in reply])
        except (o.OpenAIError, ValueError) as error:
            assert row in {*range(1, 19), 21, 23, 24, 26, 27, 41}, repr(error)
    assert {entry.refused for entry in await asking.fake.journal() if not entry.query} == {None}


async def test_a_fault_that_there_is_not_is_refused(asking: Asking) -> None:
    with pytest.raises(ValueError, match="no fault 'nonsense'"):
        await asking.fake.script(Script(steps=(Step(fault=Fault(row="nonsense")),)))
    with pytest.raises(ValueError, match=r"fault 1 \(rate_limited\) takes \['retry_after'\]"):
        await asking.fake.script(Script(steps=(Step(fault=Fault(row=1, params={"after": 3})),)))
