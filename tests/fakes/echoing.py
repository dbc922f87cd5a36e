"""A model server that repeats the key it was sent in whatever it answers. The first part of a path says how."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from fakes.http_server import HttpServer, Recorded

KINDS = ("unauthorized", "refused", "page", "redirect", "broken", "line", "hollow", "long", "spent")
# What adapters keep of a message; the key lies across its end.
_KEPT = 2048


@dataclass
class Echoing(HttpServer):
    """The server. `elsewhere` counts requests at the place that `redirect` names."""

    elsewhere: int = 0

    def base(self, kind: str) -> str:
        """Address of the server that fails in a way."""
        return self.url(f"/{kind}")

    async def _answer(self, request: Recorded, writer: asyncio.StreamWriter) -> None:
        kind = request.target.split("/")[1]
        said = " and ".join(f"{name}: {value}" for name, value in request.headers)
        token = request.header("x-token") or ""
        key = request.header("x-api-key") or (request.header("authorization") or "").removeprefix("Bearer ")
        said = f"{key} and {token.removeprefix('Bearer ')} in {said}"
        anthropic = request.target.endswith("/messages")

        def reply(status: int, body: bytes, kind: str = "application/json", **headers: str) -> None:
            lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", f"Content-Type: {kind}"]
            lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

        def error(message: str, word: str = "") -> bytes:
            told = {"type": word or "authentication_error", "message": message, "code": word or "x", "param": word}
            return json.dumps({"type": "error", "error": told}).encode()

        match kind:
            case "unauthorized":
                reply(401, error(f"Incorrect API key provided: {said}"), X_Request_Id="r-1", X_Said=key)
            case "refused":
                reply(400, error(f"Bad key {said}", word=key))
            case "page":
                reply(502, f"<html><body>Bad gateway for {said}</body></html>".encode(), "text/html")
            case "redirect":
                reply(307, f"go to {key}".encode(), "text/plain", Location=self.url(f"/elsewhere/{key}"))
            case "elsewhere":
                self.elsewhere += 1
                reply(200, b"{}")
            case "broken":
                told = {"type": "error", "error": {"type": "api_error", "message": f"lost {said}", "code": "x"}}
                reply(200, _opening(anthropic=anthropic) + _event("error", told), "text/event-stream")
            case "line":
                reply(200, _opening(anthropic=anthropic) + f"data: {{{said}\n\n".encode(), "text/event-stream")
            case "hollow":
                reply(200, json.dumps({"echo": said, "choices": None, "content": None}).encode())
            case "long":
                reply(401, error("x" * (_KEPT - 20) + key + "y" * 100))
            case "spent":
                word = "billing_error" if anthropic else "insufficient_quota"
                reply(402 if anthropic else 429, error(f"nothing left, {said}", word=word))
            case _:
                reply(404, error(f"no {said}"))


def _opening(*, anthropic: bool) -> bytes:
    if anthropic:
        message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
        message |= {"stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}
        return _event("message_start", {"type": "message_start", "message": message})
    choice = {"index": 0, "delta": {"role": "assistant", "content": "So far"}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
