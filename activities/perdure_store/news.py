"""What is new in runs that are being read, within milliseconds: deltas, and the number of the last event.

    with board_of(url).watch(run_id) as watch:
        watch.want(key)
        found = await watch.news()

Light to import, and nothing here raises: a store that is away has no news. PostgreSQL says when there is something
(NOTIFY); an SQLite file is asked whether it was changed, by one thread for all who read in this process.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .ledger_records import DeltaRow
from .urls import kind_of, path_of

TICK_S = 0.012
# When nothing has happened for a while, and nobody waits for deltas.
QUIET_TICK_S = 0.1
QUIET_AFTER_S = 5.0
# Where the store says when there is news: how often to look all the same.
SPARE_S = 0.5
AGAIN_FIRST_S = 0.05
AGAIN_MOST_S = 1.0
MOST_ROWS = 500
CHANNEL = "perdure_events"

_LAST = "SELECT last_seq FROM runs WHERE id = {0}"
_DELTAS = """
SELECT node_id, frame, selector, epoch, n, "offset", text, done FROM model_deltas
WHERE run_id = {0} AND scope = '' AND key = {1} AND (epoch > {2} OR (epoch = {2} AND n > {3}))
ORDER BY epoch, n LIMIT {4}
"""


@dataclass(frozen=True, slots=True)
class News:
    """What was found: number of the last recorded event of the run, and deltas in the order of epochs and numbers."""

    last_seq: int
    deltas: tuple[DeltaRow, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What one reader wants to know: of a run the deltas of the effect `key` after number `n` of an epoch."""

    run_id: str
    key: str = ""
    epoch: int = 0
    n: int = -1


class Watch:
    """One reader's look-out."""

    def __init__(self, run_id: str, wake: asyncio.Event) -> None:
        self.asked = Asked(run_id)
        self.stale = True
        self._wake = wake
        self._found = News(0, ())
        self._ready = asyncio.Event()

    def want(self, key: str, epoch: int = 0, n: int = -1) -> None:
        """Ask for the deltas of an effect after a number; no key asks for none."""
        asked = Asked(self.asked.run_id, key, epoch, n)
        if key and key != self.asked.key:
            self.touch()
        self.asked = asked

    def touch(self) -> None:
        """Have it looked at soon."""
        self.stale = True
        self._wake.set()

    def give(self, found: News) -> None:
        """Take in what was found."""
        if found.deltas or found.last_seq > self._found.last_seq:
            self._found = found
            self._ready.set()

    async def news(self) -> News:
        """Wait for news. What was not asked for again since comes again with later news."""
        await self._ready.wait()
        self._ready.clear()
        return self._found


class Board(ABC):
    """All who read from one store in this process, served by one task while there are any."""

    def __init__(self) -> None:
        self.watches: set[Watch] = set()
        self.wake = asyncio.Event()
        self._serving: asyncio.Task[None] | None = None

    @property
    def serving(self) -> bool:
        """Whether the store is held open."""
        return self._serving is not None and not self._serving.done()

    @contextmanager
    def watch(self, run_id: str) -> Generator[Watch]:
        """Watch a run for the length of the block."""
        watch = Watch(run_id, self.wake)
        self.watches.add(watch)
        self.wake.set()
        if not self.serving:
            self._serving = asyncio.create_task(self._serve(), name="perdure-store-news")
        try:
            yield watch
        finally:
            self.watches.discard(watch)
            self.wake.set()

    async def _serve(self) -> None:
        rest = AGAIN_FIRST_S
        while self.watches:
            try:
                await self.look()
            except Exception:
                # Away, or not made yet; readers do without it.
                await asyncio.sleep(rest)
                rest = min(2 * rest, AGAIN_MOST_S)

    @abstractmethod
    async def look(self) -> None:
        """Open the store, and give watches what is new until none is left; raise when the store is away."""


class SqliteBoard(Board):
    """Watches a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    async def look(self) -> None:
        """Look whenever the file was changed."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="perdure-store-news") as thread:
            connection = await loop.run_in_executor(thread, self._open)
            try:
                version, changed_at = 0, 0.0
                while self.watches:
                    self.wake.clear()
                    begun = time.monotonic()
                    watches = list(self.watches)
                    asked = [(watch.asked, watch.stale) for watch in watches]
                    for watch in watches:
                        watch.stale = False
                    was = version
                    version, found = await loop.run_in_executor(thread, _read_file, connection, version, asked)
                    changed_at = begun if version != was else changed_at
                    for watch, news in zip(watches, found, strict=True):
                        if news is not None:
                            watch.give(news)
                    quiet = begun - changed_at > QUIET_AFTER_S and not any(watch.asked.key for watch in watches)
                    # With many readers looking takes long: half of the time is for everything else.
                    await _either(self.wake, max(QUIET_TICK_S if quiet else TICK_S, time.monotonic() - begun))
            finally:
                await asyncio.shield(loop.run_in_executor(thread, connection.close))

    def _open(self) -> sqlite3.Connection:
        # `rw` and not `ro`: a reader of a file in WAL mode writes to the index beside it; it must not make the file.
        uri = f"file:{quote(str(self._path))}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=1.0, isolation_level=None, check_same_thread=False)


class PostgresBoard(Board):
    """Listens to a database."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    async def look(self) -> None:
        """Look when the database says that there is news of a run."""
        import asyncpg  # pyright: ignore[reportMissingTypeStubs]

        driver: Any = asyncpg
        settings = {"application_name": "perdure"}
        # No prepared statements: a pooler in between may give each query another connection.
        connection = await driver.connect(
            _dsn(self._url), timeout=5.0, command_timeout=5.0, statement_cache_size=0, server_settings=settings
        )
        try:
            await connection.add_listener(CHANNEL, self._heard)
            while self.watches:
                self.wake.clear()
                for watch in [watch for watch in self.watches if watch.stale]:
                    watch.stale = False
                    watch.give(await _read_database(connection, watch.asked))
                if not await _either(self.wake, SPARE_S):
                    for watch in self.watches:
                        watch.stale = True
        finally:
            for watch in self.watches:
                watch.stale = True
            with suppress(Exception):
                await connection.close(timeout=1.0)

    def _heard(self, _connection: Any, _pid: int, _channel: str, run_id: object) -> None:
        for watch in self.watches:
            if watch.asked.run_id == run_id:
                watch.touch()


def board_of(url: str) -> Board:
    """Make the board of a store.

    Raises:
        PlatformError: the URL names no store.
    """
    return SqliteBoard(path_of(url)) if kind_of(url) == "sqlite" else PostgresBoard(url)


async def _either(news: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await news.wait()
            return True
    return False


def _read_file(
    connection: sqlite3.Connection, known: int, asked: Iterable[tuple[Asked, bool]]
) -> tuple[int, list[News | None]]:
    """Read what is asked for where the file was changed, or the asker has never been answered."""
    # Before the rest: what changes in between is found again.
    version = int(connection.execute("PRAGMA data_version").fetchone()[0])
    found = [_of_file(connection, one) if fresh or version != known else None for one, fresh in asked]
    return version, found


def _of_file(connection: sqlite3.Connection, asked: Asked) -> News:
    last = connection.execute(_LAST.format("?"), (asked.run_id,)).fetchone()
    rows: list[Any] = []
    if asked.key:
        query = _DELTAS.format("?1", "?2", "?3", "?4", "?5")
        rows = connection.execute(query, (asked.run_id, asked.key, asked.epoch, asked.n, MOST_ROWS)).fetchall()
    return _news(asked, last[0] if last else 0, rows)


async def _read_database(connection: Any, asked: Asked) -> News:
    last = await connection.fetchval(_LAST.format("$1"), asked.run_id)
    rows: list[Any] = []
    if asked.key:
        query = _DELTAS.format("$1", "$2", "$3", "$4", "$5")
        rows = await connection.fetch(query, asked.run_id, asked.key, asked.epoch, asked.n, MOST_ROWS)
    return _news(asked, last or 0, rows)


def _news(asked: Asked, last_seq: int, rows: Iterable[Any]) -> News:
    return News(last_seq, tuple(_delta(asked, row) for row in rows))


def _delta(asked: Asked, row: Any) -> DeltaRow:
    node_id, frame, selector, epoch, n, offset, text, done = row
    return DeltaRow(
        run_id=asked.run_id,
        scope="",
        key=asked.key,
        node_id=node_id,
        frame=frame,
        selector=selector,
        epoch=epoch,
        n=n,
        offset=offset,
        text=json.loads(text),
        done=bool(done),
    )


def _dsn(url: str) -> str:
    """Write a URL as the driver alone takes it."""
    scheme, _, rest = url.partition("://")
    rest, mark, query = rest.partition("?")
    known = [part.replace("ssl=", "sslmode=", 1) if part.startswith("ssl=") else part for part in query.split("&")]
    return f"{scheme.partition('+')[0]}://{rest}{mark}{'&'.join(known)}"
