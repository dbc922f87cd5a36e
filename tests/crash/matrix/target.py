"""The outside world: an HTTP server that counts what is done to it and knows a repeated request by its key."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from fakes.http_server import listening, read_request

THINKING_S = 0.03
HELD_S = 10.0


@dataclass(frozen=True)
class Asked:
    """One request. `at` in seconds since the epoch; `repeated` when its key was known."""

    case: str
    what: str
    key: str | None
    at: float
    repeated: bool


@dataclass
class Target:
    """Does what each request asks for, once per `Idempotency-Key`; without a key each time.

    held: case and name of effects whose next request gets its answer late.
    """

    port: int = 0
    asked: dict[str, list[Asked]] = field(default_factory=dict)
    held: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    _answers: dict[str, bytes] = field(default_factory=dict)
    _awaited: dict[tuple[str, int], asyncio.Event] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where effects go."""
        return f"http://127.0.0.1:{self.port}/effect"

    def of(self, case: str) -> list[Asked]:
        """Requests of a run, in order."""
        return self.asked.get(case, [])

    def done(self, case: str) -> Counter[str]:
        """How often each effect of a run was really performed."""
        return Counter(asked.what for asked in self.of(case) if not asked.repeated)

    async def arrived(self, case: str, number: int) -> bool:
        """Wait until so many requests of a run have come; its answer is still on the way then."""
        if len(self.of(case)) < number:
            await self._awaited.setdefault((case, number), asyncio.Event()).wait()
        return True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                request = await read_request(reader)
                asked, answer = self._perform(request.target, request.header("idempotency-key"), request.body)
                # The effect is done and its answer on the way: the moment at which a kill hurts most.
                late = (asked.case, asked.what) in self.held
                self.held.discard((asked.case, asked.what))
                await asyncio.sleep(HELD_S if late else THINKING_S)
                head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(answer)}\r\n\r\n"
                writer.write(head.encode() + answer)
                await writer.drain()
        writer.close()

    def _perform(self, target: str, key: str | None, body: bytes) -> tuple[Asked, bytes]:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(target).query).items()}
        case, what = query.get("case", ""), query.get("what", "")
        repeated = key is not None and key in self._answers
        asked = Asked(case, what, key, time.time(), repeated)
        self.asked.setdefault(case, []).append(asked)
        if (awaited := self._awaited.pop((case, len(self.of(case))), None)) is not None:
            awaited.set()
        answer = f'{{"done":"{what}","body":"{body.decode()}"}}'.encode()
        return asked, answer if key is None else self._answers.setdefault(key, answer)


@asynccontextmanager
async def counting() -> AsyncIterator[Target]:
    """Serve on a free port until the block ends."""
    target = Target()
    async with listening(target.serve) as target.port:
        yield target
