"""What goes wrong on the Anthropic wire, row by row of provider-faults.md where it applies to the adapter."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes.http_server import listening
from fakes.messages_server import MessagesServer, Sent, message, messages_server, sse, text
from perdure_activities.models.anthropic_messages import AnthropicMessages
from perdure_activities.models.protocol import Delta, Endpoint, ModelCall, ModelFault, TextDelta
from perdure_graph.models.messages import user

KEY = "sk-canary-0123456789"
ASK = ModelCall(model="claude-x", messages=(user("Hi"),))
JSON = {"content-type": "application/json"}


async def outcome(base_url: str, **changes: Any) -> tuple[list[Delta], ModelFault]:
    """Call, and give what came before the fault, and the fault."""
    limits: dict[str, Any] = {"connect_s": 1.0, "first_token_s": 0.5, "between_s": 0.3, "allow_private": True}
    at = Endpoint("main", "anthropic", "anthropic-messages", base_url, KEY, **{**limits, **changes})
    adapter, heard = AnthropicMessages(), list[Delta]()
    try:
        with pytest.raises(ModelFault) as caught:
            async for delta in adapter.stream(at, ASK):
                heard.append(delta)
    finally:
        await adapter.close()
    assert KEY not in repr(caught.value)
    assert caught.value.__cause__ is None, "a cause may hold the request with its key"
    return heard, caught.value


async def of_reply(reply: Sent, **changes: Any) -> tuple[MessagesServer, list[Delta], ModelFault]:
    async with messages_server(reply) as server:
        heard, fault = await outcome(server.url, **changes)
    assert len(server.requests) == 1, "the SDK must not try again"
    return server, heard, fault


def error(status: int, type_: str, said: str = "no", **headers: str) -> Sent:
    body = {"type": "error", "error": {"type": type_, "message": said}, "request_id": "req_1"}
    return Sent(json.dumps(body).encode(), status, {**JSON, **{k.replace("_", "-"): v for k, v in headers.items()}})


@pytest.mark.parametrize(
    ("row", "reply", "kind", "retry_after"),
    [
        (1, error(429, "rate_limit_error", retry_after="7"), "rate_limited", 7.0),
        (2, error(429, "rate_limit_error", retry_after="300"), "rate_limited", 300.0),
        (3, error(429, "rate_limit_error", retry_after_ms="1500"), "rate_limited", 1.5),
        (3, error(429, "rate_limit_error", retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), "rate_limited", None),
        (4, error(400, "invalid_request_error", "Your credit balance is too low"), "quota_exhausted", None),
        (5, error(401, "authentication_error"), "auth", None),
        (6, error(402, "billing_error"), "quota_exhausted", None),
        (7, error(403, "permission_error"), "permission", None),
        (8, error(404, "not_found_error", "model: claude-none"), "not_found", None),
        (
            9,
            error(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"),
            "context_overflow",
            None,
        ),
        (
            9,
            error(400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3"),
            "context_overflow",
            None,
        ),
        (11, error(413, "request_too_large"), "bad_request", None),
        (12, error(408, "timeout_error"), "timeout", None),
        (12, error(409, "conflict_error"), "overloaded", None),
        (13, error(500, "api_error"), "server_error", None),
        (14, Sent(b"<html>bad gateway</html>" * 500, 502, {"content-type": "text/html"}), "server_error", None),
        (15, error(503, "api_error"), "overloaded", None),
        (15, error(504, "timeout_error"), "timeout", None),
        (16, error(529, "overloaded_error", retry_after="2"), "overloaded", 2.0),
        (
            33,
            error(400, "invalid_request_error", "Output blocked by content filtering policy"),
            "content_refused",
            None,
        ),
        (41, Sent(b"", 307, {"location": "http://192.0.2.1/"}), "protocol_error", None),
    ],
)
async def test_a_status(row: int, reply: Sent, kind: str, retry_after: float | None) -> None:
    _, heard, fault = await of_reply(reply)
    assert (fault.kind, heard, fault.status) == (kind, [], reply.status)
    assert fault.retry_after_s == retry_after
    assert len(fault.message.encode()) < 2200


@pytest.mark.parametrize(
    ("said", "parameter"),
    [
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("`temperature` and `top_p` cannot both be specified for this model. Please use only one.", "top_p"),
        ("output_config.format: this model does not support structured output", "output_config"),
        ("temperature: range: 0..1", ""),
        ("messages.0.content: unexpected block", ""),
    ],
)
async def test_row_10_a_parameter_that_is_not_taken_is_named(said: str, parameter: str) -> None:
    _, _, fault = await of_reply(error(400, "invalid_request_error", said))
    assert (fault.kind, fault.parameter) == ("bad_request", parameter)


async def test_row_17_nobody_listens() -> None:
    async with messages_server() as server:
        url = server.url
    _, fault = await outcome(url)
    assert (fault.kind, fault.maybe_billed) == ("connection", False)


async def test_row_18_the_connection_closes_before_an_answer() -> None:
    async def hang_up(reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with listening(hang_up) as port:
        _, fault = await outcome(f"http://127.0.0.1:{port}")
    assert (fault.kind, fault.maybe_billed) == ("connection", True)


async def test_row_19_no_answer_at_all() -> None:
    async def say_nothing(reader: Any, writer: Any) -> None:
        await reader.read()

    async with listening(say_nothing) as port:
        _, fault = await outcome(f"http://127.0.0.1:{port}")
    assert (fault.kind, fault.maybe_billed) == ("timeout", True)


HALF = sse(message(text(0, "a", "b"))[:4])


@pytest.mark.parametrize(
    ("row", "reply", "kind"),
    [
        (20, Sent(HALF, then="stall"), "stream_broken"),
        (21, Sent(HALF, then="cut"), "stream_broken"),
        (22, Sent(HALF), "stream_broken"),
        (22, Sent(sse(message(text(0, "a"))[:-1])), "stream_broken"),
        (23, Sent(HALF + sse([{"type": "error", "error": {"type": "overloaded_error"}}])), "overloaded"),
        (23, Sent(HALF + sse([{"type": "error", "error": {"type": "api_error", "message": "x"}}])), "server_error"),
        (23, Sent(HALF + sse([{"type": "error", "error": {"type": "rate_limit_error"}}])), "rate_limited"),
        (23, Sent(HALF + sse([{"type": "error", "error": {"type": "odd"}}])), "protocol_error"),
        (24, Sent(HALF + b"event: content_block_delta\ndata: {not json\n\n"), "protocol_error"),
        (24, Sent(HALF + b'event: content_block_delta\ndata: "\xff"\n\n'), "protocol_error"),
        (24, Sent(HALF + b"event: x\ndata: " + b"[" * 200_000 + b"\n\n"), "protocol_error"),
    ],
)
async def test_a_stream_that_breaks(row: int, reply: Sent, kind: str) -> None:
    _, heard, fault = await of_reply(reply)
    assert TextDelta("a") in heard
    assert (fault.kind, fault.maybe_billed) == (kind, True)
    assert fault.retryable


@pytest.mark.parametrize(
    ("row", "reply", "kind"),
    [
        (25, Sent(b"<html>log in</html>", headers={"content-type": "text/html; charset=utf-8"}), "protocol_error"),
        (25, Sent(b""), "protocol_error"),
        (26, Sent(b'{"type": "mess', headers=JSON), "protocol_error"),
        (26, Sent(b"", headers=JSON), "protocol_error"),
        (27, Sent(b'{"error": {"type": "overloaded_error", "message": "x"}}', headers=JSON), "overloaded"),
        (27, Sent(b'{"type": "message", "content": null}', headers=JSON), "protocol_error"),
        (23, Sent(sse([{"type": "error", "error": {"type": "overloaded_error"}}])), "overloaded"),
        (20, Sent(b"", then="stall"), "timeout"),
    ],
)
async def test_a_reply_that_is_none(row: int, reply: Sent, kind: str) -> None:
    _, heard, fault = await of_reply(reply)
    assert not any(isinstance(delta, TextDelta) for delta in heard)
    assert fault.kind == kind


async def test_row_38_each_piece_may_be_late_but_not_too_late() -> None:
    events = message(text(0, *"abc"))
    _, heard, fault = await of_reply(Sent(sse(events[:5]), then="stall"), between_s=0.2)
    assert [d.text for d in heard if isinstance(d, TextDelta)] == ["a", "b"]
    assert fault.kind == "stream_broken"


async def test_row_42_a_huge_reply_is_not_read() -> None:
    flood = sse(message(text(0, *("x" * 4096 for _ in range(200)))))
    _, _, fault = await of_reply(Sent(flood, cut=16384), max_reply_bytes=100_000)
    assert fault.kind == "protocol_error"
    line = sse(message(text(0, "x" * 1_000_000)))
    _, _, fault = await of_reply(Sent(line, cut=65536), max_reply_bytes=100_000)
    assert fault.kind == "protocol_error"


async def test_a_private_address_stays_closed() -> None:
    async with messages_server(Sent(HALF)) as server:
        _, fault = await outcome(server.url, allow_private=False)
    assert (fault.kind, server.connections) == ("permission", 0)


async def test_a_server_that_echoes_the_key_is_not_quoted_with_it_by_the_runtime() -> None:
    from perdure_activities.models.stream.faults import hidden

    at = Endpoint("main", "anthropic", "anthropic-messages", "http://x", KEY)
    assert KEY not in str(hidden(ModelFault("auth", f"bad key {KEY}"), at))
