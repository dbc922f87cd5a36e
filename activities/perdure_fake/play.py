"""Plays a plan: sends a response byte for byte, at its pace, and notes how far it got."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http import HTTPStatus

from .http import Connection
from .plans import Plan, Send, Wait

_REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}


@dataclass(slots=True)
class Sent:
    """How far a response got."""

    text: list[str] = field(default_factory=list[str])
    tokens: int = 0
    bytes: int = 0
    waited: float = 0.0
    first_text_at: float | None = None


async def play(connection: Connection, plan: Plan, sent: Sent) -> None:
    """Send a response as planned, up to but without the end of the connection.

    Raises:
        ClientGone: the client left before its end.
    """
    if plan.silent:
        await _waits(connection, plan, sent)
        return
    last = max((index for index, piece in enumerate(plan.pieces) if isinstance(piece, Send)), default=-1)
    pending = head(plan)
    end = b"0\r\n\r\n" if plan.framing == "chunked" and plan.last_chunk else b""
    for index, piece in enumerate(plan.pieces):
        match piece:
            case Wait(seconds):
                sent.waited += seconds or 0.0
                await connection.pause(seconds)
            case Send(data, text, tokens):
                await connection.write(pending + _framed(plan, data) + (end if index == last else b""))
                pending = b""
                _note(sent, data, text, tokens)
    if last < 0:
        await connection.write(pending + end)


async def _waits(connection: Connection, plan: Plan, sent: Sent) -> None:
    for piece in plan.pieces:
        if isinstance(piece, Wait):
            sent.waited += piece.seconds or 0.0
            await connection.pause(piece.seconds)


def _note(sent: Sent, data: bytes, text: str, tokens: int) -> None:
    if (text or tokens) and sent.first_text_at is None:
        sent.first_text_at = asyncio.get_running_loop().time()
    sent.text.append(text)
    sent.tokens += tokens
    sent.bytes += len(data)


def head(plan: Plan) -> bytes:
    """Give the status line and headers of a response."""
    lines = [f"HTTP/1.1 {plan.status} {_REASONS.get(plan.status, 'Unknown')}", f"content-type: {plan.content_type}"]
    if plan.framing == "chunked":
        lines.append("transfer-encoding: chunked")
    elif plan.framing == "length":
        size = sum(len(piece.data) for piece in plan.pieces if isinstance(piece, Send))
        lines.append(f"content-length: {size if plan.declared is None else plan.declared}")
    if plan.framing == "close":
        lines.append("connection: close")
    lines += [f"{name}: {value}" for name, value in plan.headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")


def _framed(plan: Plan, data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if plan.framing == "chunked" and data else data
