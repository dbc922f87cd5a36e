"""A model provider byte by byte on a real socket: each request takes the next answer, sent exactly as it is written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fakes.http_server import Recorded, listening, read_request
from perdure_activities.models.protocol import Delta, Endpoint, ModelCall, ModelFault, Wire
from perdure_activities.models.stream.accumulate import Accumulated, Accumulator
from perdure_graph.models.messages import user


@dataclass(frozen=True)
class Answer:
    """Bytes to send, with pauses in seconds between them; then the connection is kept, or cut when `cut`."""

    parts: tuple[bytes | float, ...]
    cut: bool = False


def whole(body: bytes | object, status: int = 200, media: str = "application/json", **headers: str) -> Answer:
    """Answer in one piece; what is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer((_head(status, {"Content-Type": media, "Content-Length": str(len(data)), **headers}) + data,))


def stream(*events: object, done: bool = True, cut: bool = False, media: str = "text/event-stream") -> Answer:
    """Answer with events: objects are sent as JSON, text and bytes as they are, numbers are pauses.

    cut: the connection ends without the chunk that ends the body.
    """
    parts: list[bytes | float] = [_head(200, {"Content-Type": media, "Transfer-Encoding": "chunked"})]
    for event in [*events, *(["data: [DONE]\n\n"] if done else [])]:
        if isinstance(event, float):
            parts.append(event)
            continue
        data = event if isinstance(event, bytes) else event.encode() if isinstance(event, str) else _event(event)
        parts.append(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    return Answer((*parts, *(() if cut else (b"0\r\n\r\n",))), cut=cut)


def _event(event: object) -> bytes:
    name = f"event: {event['type']}\n" if isinstance(event, dict) and "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


@dataclass
class Provider:
    """What a test may look at. The last answer is given again and again. gone: connections that clients closed."""

    answers: Sequence[Answer]
    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def endpoint(self, wire: Wire = "openai-chat", **more: Any) -> Endpoint:
        """The endpoint of this server."""
        settings: dict[str, Any] = {
            "deployment": "d",
            "provider": "acme",
            "base_url": f"http://127.0.0.1:{self.port}/v1",
            "api_key": "sk-secret-key",
            "allow_private": True,
            "connect_s": 2.0,
            "first_token_s": 5.0,
            "between_s": 5.0,
        }
        return Endpoint(wire=wire, **(settings | more))

    def body(self, number: int = -1) -> dict[str, Any]:
        """The JSON body of a request."""
        return json.loads(self.requests[number].body)

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                self.requests.append(await read_request(reader))
                answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
                await self._send(answer, reader, writer)
                if answer.cut:
                    break
        self.gone.set()
        writer.close()

    async def _send(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in answer.parts:
            if isinstance(part, float):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hung_up(reader), part)
            else:
                writer.write(part)
                await writer.drain()

    async def _hung_up(self, reader: asyncio.StreamReader) -> None:
        if not await reader.read(1):
            raise ConnectionResetError


@asynccontextmanager
async def provider(*answers: Answer) -> AsyncIterator[Provider]:
    """Serve on a free port until the block ends."""
    served = Provider(answers)
    async with listening(served.handle) as served.port:
        yield served


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """One chunk of a chat completion."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m-1", "choices": [choice], **more}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """The last chunk of a stream, with its usage."""
    used = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}
    return {"id": "c1", "object": "chat.completion.chunk", "model": "m-1", "choices": [], "usage": used}


def call(text: str = "hi", **more: Any) -> ModelCall:
    """A call with one user message."""
    return ModelCall(model="m", **({"messages": (user(text),)} | more))


async def answered(adapter: Any, endpoint: Endpoint, asked: ModelCall) -> tuple[Accumulated, list[Delta]]:
    """Take an answer to its end."""
    collected = Accumulator(asked, endpoint.provider, endpoint.max_reply_bytes)
    deltas: list[Delta] = []
    async for delta in adapter.stream(endpoint, asked):
        collected.take(delta)
        deltas.append(delta)
    return collected.accumulated(), deltas


async def failed(adapter: Any, endpoint: Endpoint, asked: ModelCall) -> tuple[ModelFault, list[Delta]]:
    """Take an answer to its fault, and the deltas before that."""
    deltas: list[Delta] = []
    try:
        async for delta in adapter.stream(endpoint, asked):
            deltas.append(delta)
    except ModelFault as fault:
        assert fault.__cause__ is None, "the cause may hold the request with its key"
        assert endpoint.api_key not in f"{fault!r} {fault}"
        return fault, deltas
    raise AssertionError(f"no fault, but {deltas}")
