"""A Messages server on a real socket that sends exactly the bytes it is told to, and keeps what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from fakes.http_server import Recorded, listening, read_request

USAGE = {"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}


@dataclass(frozen=True)
class Sent:
    """One reply. `cut`: how many bytes a TCP piece has; `then`: what happens after the last of them."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    then: str = "end"


@dataclass
class MessagesServer:
    """Gives its replies in turn, the last of them again and again."""

    replies: list[Sent] = field(default_factory=list)
    requests: list[Recorded] = field(default_factory=list)
    connections: int = 0
    aborted: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(request.body) for request in self.requests]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await read_request(reader))
                reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
                if not await self._send(reply, reader, writer):
                    break
        writer.close()

    async def _send(self, reply: Sent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        headers = {"content-type": "text/event-stream", **reply.headers}
        head = f"HTTP/1.1 {reply.status} X\r\nTransfer-Encoding: chunked\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(head.encode() + b"\r\n")
        step = reply.cut or max(1, len(reply.body))
        for at in range(0, len(reply.body), step):
            piece = reply.body[at : at + step]
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await writer.drain()
        if reply.then == "stall":
            # Nothing comes any more but the end of the connection, when the caller hangs up.
            await reader.read(1)
            self.aborted.set()
            return False
        if reply.then == "cut":
            return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


def sse(events: Iterable[dict[str, Any]], *, end: str = "\n", named: bool = True) -> bytes:
    """Put events on the wire."""
    lines: list[str] = []
    for event in events:
        if named:
            lines.append(f"event: {event['type']}")
        lines += [f"data: {json.dumps(event, ensure_ascii=False)}", ""]
    return (end.join(lines) + end).encode()


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    """Make the events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index: int, *pieces: str) -> list[dict[str, Any]]:
    """Make the events of a block of text."""
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def call(index: int, name: str, *pieces: str, id_: str = "toolu_1") -> list[dict[str, Any]]:
    """Make the events of a tool call."""
    start = {"type": "tool_use", "id": id_, "name": name, "input": {}}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


def message(*blocks: list[dict[str, Any]], stop: str | None = "end_turn", **delta: Any) -> list[dict[str, Any]]:
    """Make the events of a whole reply."""
    start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "usage": USAGE}
    return [
        {"type": "message_start", "message": start},
        {"type": "ping"},
        *(event for events in blocks for event in events),
        {
            "type": "message_delta",
            "delta": {"stop_reason": stop, "stop_sequence": None, **delta},
            "usage": {"input_tokens": None, "output_tokens": 7, "output_tokens_details": {"thinking_tokens": 4}},
        },
        {"type": "message_stop"},
    ]


@asynccontextmanager
async def messages_server(*replies: Sent) -> AsyncIterator[MessagesServer]:
    """Serve the replies on a free port until the block ends."""
    server = MessagesServer(replies=list(replies))
    async with listening(server.handle) as server.port:
        yield server
