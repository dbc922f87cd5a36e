"""What was asked and what came of it, one entry per request to a provider's endpoint, in memory."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel, Field, JsonValue

from .http import Request
from .play import Sent

# Of what was sent; more is only sent to see whether it is refused.
_MOST_TEXT = 1 << 20
_SECRET = frozenset({"authorization", "x-api-key", "api-key", "cookie", "proxy-authorization"})


class Billed(BaseModel):
    """Tokens that the provider charges for: all of a whole answer, else the prompt and what was sent."""

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


class Entry(BaseModel):
    """One request. Times ending in `_at` are of the monotonic clock, `time` is of the wall clock, in seconds.

    key: `key_hash` of the API key.
    refused: why the request was refused, where no step said so.
    fault: row of the fault table that was served; `step` is the index of the script's step.
    simulated_s: the time that the latency model and the faults took of it.
    done: whether the exchange is over; `finished` is whether all that was planned went out.
    """

    n: int
    wire: str
    method: str
    path: str
    query: dict[str, str] = Field(default_factory=dict[str, str])
    model: str = ""
    stream: bool = False
    time: float
    started_at: float
    first_text_at: float | None = None
    ended_at: float | None = None
    key: str = ""
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    body: JsonValue = None
    request_id: str = ""
    status: int | None = None
    refused: str | None = None
    step: int | None = None
    fault: int | None = None
    usage: Billed | None = None
    text: str = ""
    simulated_s: float = 0.0
    done: bool = False
    finished: bool = False
    aborted_by_client: bool = False
    aborted_at: float | None = None


class Journal:
    """All entries, in the order in which the requests came."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def open(self, wire: str, request: Request, key: str, body: dict[str, Any]) -> Entry:
        """Note a request."""
        n = len(self.entries) + 1
        entry = Entry(
            n=n,
            wire=wire,
            method=request.method,
            path=request.path,
            query=request.query,
            model=str(body.get("model", "")),
            stream=body.get("stream") is True,
            time=time.time(),
            started_at=asyncio.get_running_loop().time(),
            key=key,
            headers={name: value for name, value in request.headers.items() if name not in _SECRET},
            body=body,
            request_id=f"req_sim{n:08d}",
        )
        self.entries.append(entry)
        return entry

    def close(self, entry: Entry, sent: Sent, bill: Billed | None, *, whole: bool, gone: bool) -> None:
        """Note what came of it. `bill` is for the whole answer, None where nothing is charged."""
        now = asyncio.get_running_loop().time()
        entry.ended_at, entry.done, entry.finished = now, True, not gone
        entry.first_text_at, entry.text, entry.simulated_s = (
            sent.first_text_at,
            "".join(sent.text)[:_MOST_TEXT],
            sent.waited,
        )
        if gone:
            entry.aborted_by_client, entry.aborted_at = True, now
        if bill is None:
            return
        if whole and not gone:
            entry.usage = bill
        elif sent.tokens:
            said = min(sent.tokens, bill.completion)
            entry.usage = bill.model_copy(update={"completion": said, "reasoning": min(bill.reasoning, said)})
