"""What goes wrong on the OpenAI wires, over a real socket, and what kind of fault it is."""

from __future__ import annotations

import gzip
import json
import socket
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from fakes.provider_bytes import Answer, answered, call, chunk, failed, provider, stream, whole
from perdure_activities.models.openai_chat import OpenAIChat
from perdure_activities.models.openai_errors import fault_of
from perdure_activities.models.openai_responses import OpenAIResponses
from perdure_activities.models.protocol import TextDelta, Wire

SAYS_HI = (chunk({"content": "hi"}), chunk(finish="stop"))


@pytest.fixture
async def adapters() -> AsyncIterator[dict[Wire, Any]]:
    made: dict[Wire, Any] = {"openai-chat": OpenAIChat(), "openai-responses": OpenAIResponses()}
    yield made
    for adapter in made.values():
        await adapter.close()


WIRES: tuple[Wire, ...] = ("openai-chat", "openai-responses")
wires = pytest.mark.parametrize("wire", WIRES)


def error(message: str = "no", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@wires
@pytest.mark.parametrize(
    ("status", "body", "kind", "billed"),
    [
        (429, error(type="requests", code="rate_limit_exceeded"), "rate_limited", False),
        (429, error(type="insufficient_quota", code="insufficient_quota"), "quota_exhausted", False),
        (429, error("You exceeded your current quota, please check your plan"), "quota_exhausted", False),
        (401, error(type="invalid_request_error", code="invalid_api_key"), "auth", False),
        (402, error(), "quota_exhausted", False),
        (403, error(), "permission", False),
        (404, error(type="invalid_request_error", code="model_not_found"), "not_found", False),
        (404, b"<html>nothing here</html>", "not_found", False),
        (400, error(type="invalid_request_error", code="context_length_exceeded"), "context_overflow", False),
        (400, error("This model's maximum context length is 4096 tokens.", code=400), "context_overflow", False),
        (400, {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}, "bad_request", False),
        (400, error(type="invalid_request_error", code="content_policy_violation"), "content_refused", False),
        (422, {"detail": "temperature: too big"}, "bad_request", False),
        (413, error(), "bad_request", False),
        (408, error(), "timeout", False),
        (409, error(), "server_error", False),
        (500, error(type="server_error"), "server_error", False),
        (502, b"<html>bad gateway</html>", "server_error", False),
        (503, error(type="server_error"), "overloaded", False),
        (504, b"", "timeout", True),
        (529, error(type="overloaded_error"), "overloaded", False),
        (418, error(), "bad_request", False),
    ],
)
async def test_statuses(adapters: dict[Wire, Any], wire: Wire, status: int, body: Any, kind: str, billed: bool) -> None:
    media = "text/html" if isinstance(body, bytes) else "application/json"
    async with provider(whole(body, status, media)) as served:
        fault, deltas = await failed(adapters[wire], served.endpoint(wire), call())
    assert (fault.kind, fault.status, fault.maybe_billed) == (kind, status, billed)
    assert deltas == []
    assert len(served.requests) == 1, "the SDK does not try again by itself"


@wires
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "300"}, 300.0),
        ({"Retry-After": "2.5"}, 2.5),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({}, None),
    ],
)
async def test_retry_after(
    adapters: dict[Wire, Any], wire: Wire, headers: dict[str, str], expected: float | None
) -> None:
    async with provider(whole(error(), 429, **headers)) as served:
        fault, _ = await failed(adapters[wire], served.endpoint(wire), call())
    assert fault.retry_after_s == expected


async def test_retry_after_as_a_date_to_come(adapters: dict[Wire, Any]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    async with provider(whole(error(), 429, Retry_After=date)) as served:
        fault, _ = await failed(adapters["openai-chat"], served.endpoint(), call())
    assert fault.retry_after_s is not None
    assert 50 < fault.retry_after_s <= 60


@pytest.mark.parametrize(
    ("told", "parameter"),
    [
        (error("Unsupported parameter: 'temperature' is not supported with this model.", param="temperature"),
         "temperature"),
        (error("Unsupported value: 'temperature' does not support 0.2 with this model."), "temperature"),
        (error("Invalid 'temperature': decimal above maximum value.", param="temperature"), ""),
        (error("max_tokens is too large: 99999. This model supports at most 16384.", param="max_tokens"), ""),
        (error("Invalid schema for response_format 'answer'.", param="response_format"), "response_format"),
        (error("Unrecognized request argument supplied: parallel_tool_calls"), "parallel_tool_calls"),
        (error("The sky is too blue"), ""),
    ],
)  # fmt: skip
async def test_the_parameter_that_a_server_refuses_is_named(
    adapters: dict[Wire, Any], told: dict[str, Any], parameter: str
) -> None:
    async with provider(whole(told, 400)) as served:
        fault, _ = await failed(adapters["openai-chat"], served.endpoint(), call())
    assert (fault.kind, fault.parameter) == ("bad_request", parameter)


@wires
async def test_a_long_body_is_cut_and_a_key_in_it_is_blotted_out(adapters: dict[Wire, Any], wire: Wire) -> None:
    told = error("Incorrect API key provided: sk-secret-key " + "x" * 5000)
    async with provider(whole(told, 401)) as served:
        fault, _ = await failed(adapters[wire], served.endpoint(wire), call())
    assert "Incorrect API key provided: ***" in fault.message
    assert len(fault.message) < 2100


@wires
async def test_nobody_listens(adapters: dict[Wire, Any], wire: Wire) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        async with provider() as served:
            served.port = held.getsockname()[1]
            fault, _ = await failed(adapters[wire], served.endpoint(wire), call())
            nameless = served.endpoint(wire, base_url="http://no-such-host.invalid/v1")
            unknown, _ = await failed(adapters[wire], nameless, call())
    assert (fault.kind, fault.maybe_billed) == ("connection", False)
    assert (unknown.kind, unknown.maybe_billed) == ("connection", False)


@wires
async def test_private_addresses_need_to_be_allowed_each(adapters: dict[Wire, Any], wire: Wire) -> None:
    async with provider(stream(*SAYS_HI)) as served:
        fault, _ = await failed(adapters[wire], served.endpoint(wire, allow_private=False), call())
    assert fault.kind == "permission"
    assert "PERDURE_HTTP_ALLOW" in fault.message
    assert served.requests == []


@wires
@pytest.mark.parametrize("url", ["ftp://x/v1", "no url", "http:///v1", "http://[::1/v1"])
async def test_a_base_url_that_is_none(adapters: dict[Wire, Any], wire: Wire, url: str) -> None:
    async with provider() as served:
        fault, _ = await failed(adapters[wire], served.endpoint(wire, base_url=url), call())
    assert fault.kind == "bad_request"
    assert "base URL" in fault.message


@wires
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer((), cut=True), "connection"),
        (Answer((b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",), cut=True),
         "connection"),
        (Answer((b"this is not HTTP\r\n\r\n",), cut=True), "connection"),
        (whole(b"", media="text/event-stream"), "protocol_error"),
        (whole(b'{"choices": [{"mess'), "protocol_error"),
        (whole(b""), "protocol_error"),
        (whole(b"[1]"), "protocol_error"),
        (whole(error("overload", code="overloaded")), "overloaded"),
        (whole(error("what")), "protocol_error"),
        (whole({"choices": None}), "protocol_error"),
        (whole({"choices": []}), "protocol_error"),
        (whole(b'{"error": "model is loading"}'), "protocol_error"),
        (stream("data: {no json}\n\n"), "protocol_error"),
        (stream("data: 7\n\n"), "protocol_error"),
        (stream(b"data: \xff\xfe\n\n"), "protocol_error"),
        (stream(), "protocol_error"),
        (whole(gzip.compress(b"{}" * 1000), Content_Encoding="gzip"), "protocol_error"),
    ],
)  # fmt: skip
async def test_replies_that_are_none(adapters: dict[Wire, Any], wire: Wire, answer: Answer, kind: str) -> None:
    async with provider(answer) as served:
        fault, deltas = await failed(adapters[wire], served.endpoint(wire), call())
    assert (fault.kind, fault.maybe_billed) == (kind, True)
    assert not any(isinstance(delta, TextDelta) for delta in deltas)


@wires
async def test_the_page_of_a_proxy_is_no_reply(adapters: dict[Wire, Any], wire: Wire) -> None:
    async with provider(whole(b"<html>log in</html>", media="text/html; charset=utf-8")) as served:
        fault, _ = await failed(adapters[wire], served.endpoint(wire), call())
    assert (fault.kind, fault.maybe_billed) == ("protocol_error", False)
    assert "base URL" in fault.message


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (stream(chunk({"content": "hi"}), done=False, cut=True), "stream_broken"),
        (stream(chunk({"content": "hi"}), done=False), "stream_broken"),
        (stream(chunk({"content": "hi"})), "stream_broken"),
        (stream(chunk({"content": "hi"}), chunk(finish="abort")), "stream_broken"),
        (stream(chunk({"content": "hi"}), 30.0), "stream_broken"),
        (stream(chunk({"content": "hi"}), error("busy", type="server_error")), "server_error"),
        (stream(chunk({"content": "hi"}), error("busy", code="rate_limit_exceeded")), "rate_limited"),
        (stream(chunk({"content": "hi"}), {"error": "out of memory"}), "protocol_error"),
        (stream(chunk({"content": "hi"}), {"object": "error", "message": "x", "code": 503}), "overloaded"),
        (stream(chunk({"content": "hi"}), "data: {\n\n"), "protocol_error"),
    ],
)
async def test_streams_that_break(adapters: dict[Wire, Any], answer: Answer, kind: str) -> None:
    async with provider(answer) as served:
        begun = time.monotonic()
        fault, deltas = await failed(adapters["openai-chat"], served.endpoint(between_s=0.3), call())
    assert fault.kind == kind
    assert [delta.text for delta in deltas if isinstance(delta, TextDelta)] == ["hi"]
    assert time.monotonic() - begun < 3


@wires
@pytest.mark.parametrize("answer", [Answer((30.0,)), stream(30.0), stream(": still here\n\n", 30.0)])
async def test_no_token_in_time(adapters: dict[Wire, Any], wire: Wire, answer: Answer) -> None:
    async with provider(answer) as served:
        begun = time.monotonic()
        endpoint = served.endpoint(wire, first_token_s=0.4, between_s=0.4)
        fault, _ = await failed(adapters[wire], endpoint, call())
    assert (fault.kind, fault.maybe_billed) == ("timeout", True)
    assert time.monotonic() - begun < 3


async def test_the_first_token_may_take_longer_than_the_others(adapters: dict[Wire, Any]) -> None:
    late = stream(0.6, *SAYS_HI)
    slow = stream(chunk({"content": "hi"}), 0.6, chunk(finish="stop"))
    async with provider(late, slow) as served:
        first, _ = await answered(adapters["openai-chat"], served.endpoint(first_token_s=5.0, between_s=0.3), call())
        second, _ = await answered(adapters["openai-chat"], served.endpoint(first_token_s=0.3, between_s=5.0), call())
    assert first.text == second.text == "hi"


@pytest.mark.parametrize("rest", [(30.0,), ()])
async def test_what_breaks_after_the_answer_does_not_cost_it(
    adapters: dict[Wire, Any], rest: tuple[float, ...]
) -> None:
    async with provider(stream(*SAYS_HI, *rest, done=False, cut=True)) as served:
        answer, _ = await answered(adapters["openai-chat"], served.endpoint(between_s=0.3), call())
    assert (answer.text, answer.tokens) == ("hi", None)


@wires
async def test_redirects_take_neither_prompt_nor_key_elsewhere(adapters: dict[Wire, Any], wire: Wire) -> None:
    async with provider(stream(*SAYS_HI)) as other, provider() as served:
        served.answers = [whole(b"", 307, Location=f"http://127.0.0.1:{other.port}/v1")]
        fault, _ = await failed(adapters[wire], served.endpoint(wire), call())
    assert (fault.kind, fault.status) == ("protocol_error", 307)
    assert other.requests == []


@wires
@pytest.mark.parametrize(
    "answer",
    [
        whole(b'{"choices": "' + b"x" * 30_000 + b'"}'),
        stream("data: " + "x" * 30_000),
        stream(*[chunk({"content": "x" * 900})] * 60),
        stream(*[": nothing\n\n"] * 10_000),
    ],
)
async def test_replies_that_are_too_long(adapters: dict[Wire, Any], wire: Wire, answer: Answer) -> None:
    async with provider(answer) as served:
        fault, _ = await failed(adapters[wire], served.endpoint(wire, max_reply_bytes=10_000), call())
    assert fault.kind == "protocol_error"
    assert "10000 bytes" in fault.message


async def test_a_large_error_page_is_bounded(adapters: dict[Wire, Any]) -> None:
    async with provider(whole(b"x" * 30_000, 500, "text/plain")) as served:
        fault, _ = await failed(adapters["openai-chat"], served.endpoint(max_reply_bytes=10_000), call())
    assert len(fault.message) < 3000


async def test_a_compressed_error_page_still_says_its_status(adapters: dict[Wire, Any]) -> None:
    page = whole(gzip.compress(b"busy"), 429, "text/html", Content_Encoding="gzip", Retry_After="4")
    async with provider(page) as served:
        fault, _ = await failed(adapters["openai-chat"], served.endpoint(), call())
    assert (fault.kind, fault.retry_after_s) == ("rate_limited", 4.0)


def test_errors_of_other_kinds() -> None:
    assert fault_of(json.JSONDecodeError("x", "doc", 0)).kind == "protocol_error"
    internal = fault_of(KeyError("x"))
    assert (internal.kind, internal.retryable) == ("internal", False)
