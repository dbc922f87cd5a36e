"""Following a run: wake up when something is recorded, by NOTIFY where there is one, else by looking now and then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Protocol, TypeVar

import asyncpg  # pyright: ignore[reportMissingTypeStubs]
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from perdure_graph.errors import PlatformError

from .database import Address
from .records import StoredEvent
from .write import CHANNEL

POLL_S = 0.2
# Where NOTIFY wakes us, looking is for what it may have missed.
SPARE_POLL_S = 2.0
OUTAGE_S = 30.0
AGAIN_S = 0.5
# How long to wait for events of windows that are recorded after the end of their run.
LINGER_S = 10.0


T = TypeVar("T")


class Source(Protocol):
    """What a follower reads."""

    async def events(self, run_id: str, after_position: int = 0) -> list[StoredEvent]:
        """Give a page of events."""
        ...

    async def is_complete(self, run_id: str) -> tuple[bool, bool]:
        """Say whether the end is recorded, and everything else too."""
        ...


class Wakes:
    """Who waits for news of which run. `listening` says whether news arrive by themselves."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.listening = False

    @contextmanager
    def of(self, run_id: str) -> Generator[asyncio.Event]:
        """Give an event that is set with each news of a run."""
        news = asyncio.Event()
        self._waiting.setdefault(run_id, set()).add(news)
        try:
            yield news
        finally:
            self._waiting[run_id].discard(news)
            if not self._waiting[run_id]:
                del self._waiting[run_id]

    def wake(self, run_id: str) -> None:
        """Tell those who wait for a run."""
        for news in self._waiting.get(run_id, ()):
            news.set()

    def wake_all(self) -> None:
        """Tell everybody: something may have been missed."""
        for run_id in self._waiting:
            self.wake(run_id)

    async def wait(self, news: asyncio.Event) -> None:
        """Wait for news, or until it is time to look anyway."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(self._poll_s, SPARE_POLL_S) if self.listening else self._poll_s):
                await news.wait()
        news.clear()


async def follow(source: Source, wakes: Wakes, run_id: str, after: int) -> AsyncGenerator[StoredEvent]:
    """Yield events as they are recorded, until the log is complete.

    Raises:
        PlatformError: the store was away for longer than `OUTAGE_S`.
    """
    ended_at: float | None = None
    last = False
    with wakes.of(run_id) as news:
        while True:
            page = await _patiently(lambda after=after: source.events(run_id, after))
            for stored in page:
                after = stored.position
                yield stored
            if page:
                continue
            if last:
                return
            ended, last = await _patiently(lambda: source.is_complete(run_id))
            if ended:
                ended_at = ended_at or time.monotonic()
                last = last or time.monotonic() - ended_at > LINGER_S
            # What came in between is read before the end.
            if not last:
                await wakes.wait(news)


async def _patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Read, and again while the store is away: a reader's cursor holds, so that an outage costs it only time."""
    deadline = time.monotonic() + OUTAGE_S
    while True:
        try:
            return await read()
        except PlatformError:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(AGAIN_S)


@asynccontextmanager
async def wakes(address: Address, engine: AsyncEngine, poll_s: float) -> AsyncGenerator[Wakes]:
    """Listen for news for the length of the block."""
    news = Wakes(poll_s)
    if address.kind == "sqlite":
        yield news
        return
    listening = asyncio.create_task(_listen(engine, news), name="perdure-store-listen")
    try:
        yield news
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def _listen(engine: AsyncEngine, news: Wakes) -> None:
    """Hold a connection that listens; when it is lost, make another."""
    while True:
        with suppress(SQLAlchemyError, asyncpg.InterfaceError, asyncpg.PostgresError, OSError, TimeoutError):
            await _listen_once(engine, news)
        await asyncio.sleep(AGAIN_S)


async def _listen_once(engine: AsyncEngine, news: Wakes) -> None:
    lost = asyncio.Event()

    def heard(_connection: Any, _pid: int, _channel: str, run_id: object) -> None:
        news.wake(str(run_id))

    def terminated(_connection: Any) -> None:
        lost.set()

    async with engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        driver.add_termination_listener(terminated)
        await driver.add_listener(CHANNEL, heard)
        news.listening = True
        news.wake_all()
        try:
            await lost.wait()
            await connection.invalidate()
        finally:
            news.listening = False
            if not lost.is_set():
                driver.remove_termination_listener(terminated)
                await driver.remove_listener(CHANNEL, heard)
