"""Group commit: what concurrent callers hand in is written by one task, a transaction at a time, or refused in time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import structlog

from perdure_graph.errors import PerdureError

from .items import Item

log = structlog.stdlib.get_logger("perdure.store")

LIMIT_S = 1.0
REST_S = 1.0
CLOSE_S = 3.0
MOST_ITEMS = 200


class NotReady(Exception):
    """The database is being opened: nothing is wrong, but nothing can be written yet."""


Commit = Callable[[Sequence[Item]], Awaitable[None]]
_Waiting = tuple[Item, asyncio.Future[bool]]


class Writer:
    """Writes items through `commit`, which writes all it is given or raises.

    After a failure it refuses at once for `rest_s`, then lets one caller try: nobody but that one waits for a database
    that does not answer.
    """

    def __init__(self, commit: Commit, *, limit_s: float = LIMIT_S, rest_s: float = REST_S) -> None:
        self._commit = commit
        self._limit_s = limit_s
        self._rest_s = rest_s
        self._queue: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._down_until: float | None = None
        self._trying = False

    @property
    def resting(self) -> bool:
        """Whether the last try failed, so that another caller would be refused at once."""
        return self._down_until is not None and (self._trying or self._now() < self._down_until)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def write(self, item: Item) -> bool:
        """Write an item, in `limit_s` at most; False when it was not written. Never raises."""
        if self._closing or self.resting:
            return False
        self._trying = self._down_until is not None
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((item, done))
        self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="perdure-store-writer")
        await asyncio.wait((done,), timeout=self._limit_s)
        if done.done():
            return done.result()
        # Whoever waited sends it again; written late, it would be written twice for nothing.
        done.cancel()
        self.failed("it did not answer in time")
        return False

    def failed(self, why: str) -> None:
        """Note that the database failed: refuse for a while."""
        if self._down_until is None:
            log.warning("the run store takes no events; runs go on and keep theirs", reason=why)
        self._down_until = self._now() + self._rest_s
        self._refuse_all()

    def _refuse_all(self) -> None:
        self._trying = False
        while self._queue:
            _settle([self._queue.popleft()], written=False)

    def _worked(self) -> None:
        if self._down_until is not None:
            log.warning("the run store takes events again")
        self._down_until, self._trying = None, False

    async def _run(self) -> None:
        while not self._closing or self._queue:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take():
                await self._write(batch)

    def _take(self) -> list[_Waiting]:
        taken: list[_Waiting] = []
        while self._queue and len(taken) < MOST_ITEMS:
            if not (entry := self._queue.popleft())[1].done():
                taken.append(entry)
        return taken

    async def _write(self, batch: list[_Waiting]) -> None:
        why = await self._try(batch)
        if why is None or len(batch) == 1:
            return
        # One of them may be what the database cannot take: it must not keep the others out.
        log.debug("writing items one by one", reason=why)
        for entry in batch:
            if self.resting:
                _settle([entry], written=False)
            else:
                await self._try([entry])

    async def _try(self, batch: list[_Waiting]) -> str | None:
        """Write a batch in one transaction; give the reason when the database refused what was in it."""
        try:
            async with asyncio.timeout(self._limit_s):
                await self._commit([item for item, _ in batch])
        except NotReady:
            self._refuse_all()
        except Exception as error:
            why = describe(error)
            if _is_refusal(error):
                if len(batch) == 1:
                    log.error("the run store cannot hold an item", reason=why)
                    self._worked()
                    _settle(batch, written=False)
                return why
            self.failed(why)
        else:
            self._worked()
            _settle(batch, written=True)
            return None
        _settle(batch, written=False)
        return None

    async def close(self) -> None:
        """Write what is waiting, as far as the database takes it, and end."""
        self._closing = True
        self._wake.set()
        if self._task is None:
            return
        await asyncio.wait((self._task,), timeout=CLOSE_S)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


def _settle(batch: Sequence[_Waiting], *, written: bool) -> None:
    for _, done in batch:
        if not done.done():
            done.set_result(written)


def describe(error: Exception) -> str:
    """Say what happened in a line."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    text = str(error) if isinstance(error, PerdureError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0]


# Of SQLSTATE: data exceptions, integrity constraints, limits of the program (such as the size of an index row).
_REFUSALS = ("22", "23", "54")


def _is_refusal(error: Exception) -> bool:
    """Whether the database refused what it was given, rather than being away."""
    from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        return state[:2] in _REFUSALS if isinstance(state, str) else isinstance(error, DataError | IntegrityError)
    # A value that the driver cannot even send.
    return isinstance(error, StatementError | UnicodeError | ValueError | OverflowError | TypeError)
