"""What was asked and what came of it, one entry per request to a provider's endpoint, in memory: the newest of them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any

from pydantic import BaseModel, Field, JsonValue

from .http import Request
from .play import Sent

# A provider that answers for days must not grow for days. Bytes are those of requests and of what was sent.
MOST_ENTRIES = 10_000
MOST_BYTES = 64 << 20
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

    n: the how manyth since the start, or since the journal was emptied.
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
    """Entries in the order in which the requests came. The oldest go when there are too many, or they hold too much."""

    def __init__(self, most: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._bytes = 0
        self._gone = 0

    def open(self, wire: str, request: Request, key: str, body: dict[str, Any]) -> Entry:
        """Note a request."""
        n = self._gone + len(self._entries) + 1
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
        self._entries.append(entry)
        self._sizes.append(0)
        self._hold(entry, len(request.body))
        return entry

    def since(self, n: int) -> list[Entry]:
        """Give the entries of all requests but the first `n`, as far as they are kept."""
        return [entry for entry in self._entries if entry.n > n]

    def close(self, entry: Entry, sent: Sent, bill: Billed | None, *, whole: bool, gone: bool) -> None:
        """Note what came of it. `bill` is for the whole answer, None where nothing is charged."""
        now = asyncio.get_running_loop().time()
        entry.ended_at, entry.done, entry.finished = now, True, not gone
        entry.first_text_at, entry.text, entry.simulated_s = (
            sent.first_text_at,
            "".join(sent.text)[:_MOST_TEXT],
            sent.waited,
        )
        self._hold(entry, len(entry.text))
        if gone:
            entry.aborted_by_client, entry.aborted_at = True, now
        if bill is None:
            return
        if whole and not gone:
            entry.usage = bill
        elif sent.tokens:
            said = min(sent.tokens, bill.completion)
            entry.usage = bill.model_copy(update={"completion": said, "reasoning": min(bill.reasoning, said)})

    def _hold(self, entry: Entry, size: int) -> None:
        """Count what an entry holds, and let the oldest go; the newest stays, however large."""
        if entry.n <= self._gone:
            return
        self._sizes[entry.n - self._gone - 1] += size
        self._bytes += size
        while len(self._entries) > self._most or (self._bytes > self._most_bytes and len(self._entries) > 1):
            self._entries.popleft()
            self._bytes -= self._sizes.popleft()
            self._gone += 1
