"""A response as plain data: what to send, how long to wait, how to end. Faults are plans too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from .script import Delay, Latency

Json = dict[str, Any]

# A part of a stream: its opening, content, the end of a block, why it ended, what it used, the last line.
Kind = Literal["open", "content", "close", "finish", "usage", "done"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream, not yet bytes: `text` is what it adds to the answer, `tokens` what that costs."""

    data: Json | str
    name: str | None = None
    kind: Kind = "open"
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to send, as one chunk; none at all still send the head."""

    data: bytes
    text: str = ""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to let pass; None is until the client goes away."""

    seconds: float | None


Piece = Send | Wait


@dataclass(frozen=True, slots=True)
class Plan:
    """One response. The head goes out with the first bytes.

    framing: `length` (declared, or counted), `chunked`, or `close` (until the connection ends).
    last_chunk: whether a chunked body is ended as it must be.
    silent: nothing at all is sent, not even a head.
    whole: whether the client gets an answer that is complete; only then all of it is billed.
    """

    pieces: tuple[Piece, ...] = ()
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    framing: Literal["length", "chunked", "close"] = "length"
    declared: int | None = None
    last_chunk: bool = True
    ending: Literal["keep", "close", "reset"] = "keep"
    silent: bool = False
    whole: bool = True


def encoded(body: object) -> bytes:
    """Make JSON bytes."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def sse(event: Event) -> bytes:
    """Make the bytes of one server-sent event."""
    name = f"event: {event.name}\n" if event.name else ""
    data = event.data if isinstance(event.data, str) else encoded(event.data).decode()
    return f"{name}data: {data}\n\n".encode()


def sends(events: Iterable[Event]) -> tuple[Send, ...]:
    """Make events bytes, one chunk each."""
    return tuple(Send(sse(event), event.text, event.tokens) for event in events)


def paced(events: Sequence[Event], latency: Latency, rng: Random) -> tuple[Piece, ...]:
    """Make events bytes, with the waits of the latency model before the first and between pieces of content."""
    pieces: list[Piece] = [Wait(drawn(latency.first, rng))]
    started = False
    for event in events:
        if event.kind == "content":
            pieces.append(Wait(between(event, latency, rng) if started else 0.0))
            started = True
        pieces.append(Send(sse(event), event.text, event.tokens))
    return tuple(piece for piece in pieces if not (isinstance(piece, Wait) and piece.seconds == 0))


def total_wait(events: Sequence[Event], latency: Latency, rng: Random) -> float:
    """How long an answer takes that is sent in one piece."""
    waits = [drawn(latency.first, rng)]
    waits += [between(event, latency, rng) for event in events if event.kind == "content"][1:]
    return sum(waits)


def between(event: Event, latency: Latency, rng: Random) -> float:
    """How long a piece of content takes."""
    if latency.tokens_per_s is not None:
        return event.tokens / latency.tokens_per_s
    return drawn(latency.chunk, rng)


def drawn(delay: Delay, rng: Random) -> float:
    """Draw a time."""
    if not delay.sigma or not delay.median:
        return delay.median
    return delay.median * rng.lognormvariate(0.0, delay.sigma)
