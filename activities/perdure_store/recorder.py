"""The recorder of a worker: puts the events that ride in effects into the run store, and keeps replies there.

Nothing here raises, and nothing takes longer than the limit: a run store that is away delays the log, never a run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from perdure_graph.effects import EffectMeta

from .items import Batch, Item, Keep, Note
from .notes import Notes
from .urls import OFF
from .writer import LIMIT_S, REST_S, NotReady, Writer, describe

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from .database import Address, Local

_SHARE = 0.8
# Of PostgreSQL: more at once only wait for each other, and the log needs connections too.
_TRANSACTIONS = 4
T = TypeVar("T")


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Recorder:
    """Records events and keeps replies in the store at a URL; `off` records nothing.

    It makes the tables of an SQLite store, and waits for those of PostgreSQL to be migrated.
    """

    def __init__(self, url: str, *, limit_s: float = LIMIT_S, rest_s: float = REST_S) -> None:
        self.url = url
        self._limit_s = limit_s
        self._engine: AsyncEngine | None = None
        # Of SQLite: a connection without asyncio, and the one thread that uses it.
        self._local: Local | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="perdure-store")
        self._writer = Writer(self._commit, limit_s=limit_s, rest_s=rest_s)
        self._notes = Notes(self._writer.write)
        self._turns = asyncio.Semaphore(_TRANSACTIONS)
        self._opening: asyncio.Task[AsyncEngine] | None = None
        self._closed = False

    @property
    def is_off(self) -> bool:
        """Whether nothing is recorded at all."""
        return self.url == OFF

    @property
    def limit_s(self) -> float:
        """Longest that recording takes."""
        return self._limit_s

    def open(self) -> None:
        """Begin to open the store; whoever needs it first waits for it, within the limit."""
        if not self.is_off and (self._opening is None or _failed(self._opening)):
            self._opening = asyncio.create_task(_open(self.url, _SHARE * self._limit_s), name="perdure-store-open")

    async def record(self, meta: EffectMeta) -> Literal["yes", "no", "off"]:
        """Record the events of an effect; `no` when that did not work in time, and they must be sent again."""
        if self.is_off:
            return "off"
        if not meta.events:
            return "yes"
        batch = Batch(meta.run_id, meta.scope, meta.events, meta.flow, meta.tenant)
        return "yes" if await self._writer.write(batch) else "no"

    async def find(self, scope: str, key: str) -> dict[str, Any] | None:
        """Find a kept reply that has not expired."""

        async def query(connection: AsyncConnection) -> dict[str, Any] | None:
            from .kept import find

            return await find(connection, scope, key, now_ms())

        return await self._read(query)

    async def keep(self, scope: str, key: str, run_id: str, reply: dict[str, Any], ttl_s: float) -> bool:
        """Keep a reply for `ttl_s` seconds; False when that did not work."""
        if self.is_off:
            return False
        now = now_ms()
        return await self._writer.write(Keep(scope, key, run_id, reply, now, now + int(ttl_s * 1000)))

    def note_blob(self, run_id: str, key: str, size: int) -> None:
        """Note that a large value of a run went into the blob store; written soon, later where the store is away."""
        if not self.is_off:
            self._notes.add(Note(run_id, key, size, now_ms()))

    async def write(self, item: Item) -> bool:
        """Write an item together with others; False when that did not work in time. Never raises."""
        return not self.is_off and await self._writer.write(item)

    async def transact(self, work: Callable[[Connection], T], *, writes: bool = True) -> T:
        """Do `work` in a transaction of its own. Raises what the database does; the limit is the caller's.

        Raises:
            NotReady: the database failed a moment ago, or the recorder is closed.
        """
        if self._writer.resting or self._closed:
            raise NotReady("it is closed" if self._closed else "it failed a moment ago")
        engine = await self._opened()
        from .database import writing

        if (local := self._local) is None:
            async with self._turns, (writing(engine) if writes else engine).begin() as connection:
                return await connection.run_sync(work)

        def whole() -> T:
            with local.transaction(writes=writes) as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._thread, whole)

    async def close(self) -> None:
        """Write what is waiting and let go of the database."""
        self._closed = True
        await self._notes.close()
        await self._writer.close()
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        if self._engine is not None:
            await self._engine.dispose()
            self._engine = None
        if (local := self._local) is not None:
            self._local = None
            # By its own thread, behind what that still does.
            await asyncio.get_running_loop().run_in_executor(self._thread, local.close)
        self._thread.shutdown(wait=False)

    async def _read(self, query: Callable[[AsyncConnection], Awaitable[T | None]]) -> T | None:
        if self.is_off or self._writer.resting:
            return None
        try:
            async with asyncio.timeout(self._limit_s):
                engine = await self._ready()
                async with engine.connect() as connection:
                    return await query(connection)
        except NotReady:
            return None
        except Exception as error:
            self._writer.failed(describe(error))
            return None

    async def _commit(self, items: Sequence[Item]) -> None:
        engine = await self._ready()
        from .database import writing
        from .write import write

        if (local := self._local) is None:
            async with writing(engine).begin() as connection:
                await connection.run_sync(write, items)
            return

        def commit() -> None:
            with local.transaction(writes=True) as connection:
                write(connection, items)

        # The whole transaction in one thread: the asynchronous driver hops to its own for every statement, 25 times.
        await asyncio.get_running_loop().run_in_executor(self._thread, commit)

    async def _opened(self) -> AsyncEngine:
        while True:
            try:
                return await self._ready()
            except NotReady:
                continue

    async def _ready(self) -> AsyncEngine:
        if self._engine is None:
            self.open()
            assert self._opening is not None
            # Not awaited: a caller out of patience must not undo the work for the next one.
            await asyncio.wait((self._opening,), timeout=_SHARE * self._limit_s)
            if not self._opening.done():
                raise NotReady("the run store is being opened")
            self._engine = self._opening.result()
            if self._engine.dialect.name == "sqlite":
                from .database import Local

                self._local = Local(self._engine, wait_s=_SHARE * self._limit_s)
        return self._engine


def _failed(task: asyncio.Task[AsyncEngine]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _open(url: str, wait_s: float) -> AsyncEngine:
    # In a thread, because the worker takes work already: loading the libraries takes most of a second.
    await asyncio.to_thread(import_module, "perdure_store.write")
    from . import database, migrate

    address = database.parse(url)
    if address.kind == "sqlite":
        await asyncio.to_thread(_make_tables, address)
    engine = database.connect(address, wait_s=wait_s)
    try:
        async with engine.connect() as connection:
            await migrate.check(connection, address)
    except BaseException:
        await engine.dispose()
        raise
    return engine


def _make_tables(address: Address) -> None:
    from . import migrate

    if migrate.revision_of_file(address) != migrate.HEAD:
        asyncio.run(migrate.make(address))
