"""The run store as a client reads it: events that a run no longer keeps itself, and the log with those of its windows.

The store needs the worker extra and its URL (`PERDURE_STORE`, the same as the workers'); runs need neither.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from perdure_graph.errors import PlatformError
from perdure_graph.events import Event

if TYPE_CHECKING:
    from perdure_store.news import Board, Watch
    from perdure_store.read import Store
    from perdure_store.records import StoredEvent

STORE_VARIABLE = "PERDURE_STORE"
_OFF = "off"
# A worker makes the store when it starts; whoever follows a run may be faster.
_MADE_S = 10.0


class LogEntry(BaseModel):
    """One event of a run or of one of its windows. `position` counts over all of them, from 1 without gaps."""

    model_config = ConfigDict(frozen=True)

    position: int
    scope: str
    event: SerializeAsAny[Event]


class Archive:
    """A run store by its URL, opened for each reading. Without a URL that of the environment."""

    def __init__(self, url: str | None = None) -> None:
        self._url = url or os.environ.get(STORE_VARIABLE)
        self._boards: dict[asyncio.AbstractEventLoop, Board] = {}

    async def events(self, run_id: str, after: int, before: int) -> list[Event]:
        """Read the events of the run itself numbered above `after` and below `before`.

        Raises:
            PlatformError: no store is configured, or it does not answer, or it lacks them.
        """
        wanted = before - after - 1
        async with self._open(f"events {after + 1} to {before - 1} of run {run_id!r}") as store:
            found: list[Event] = []
            while len(found) < wanted:
                page = await store.events_of_scope(run_id, "", after + len(found))
                if not page:
                    raise PlatformError(
                        f"the run store has no event {after + len(found) + 1} of run {run_id!r}: is it the one the "
                        f"workers record to? Check {STORE_VARIABLE}."
                    )
                found += [stored.event for stored in page]
        return found[:wanted]

    async def log(self, run_id: str, after: int, *, follow: bool) -> AsyncIterator[LogEntry]:
        """Yield the entries after a position; with `follow` until the run has ended and everything is recorded.

        Raises:
            RunNotFound: the store does not know the run, and it is not followed.
            PlatformError: no store is configured, or it does not answer.
        """
        async with self._open(f"the log of run {run_id!r}", wait_s=_MADE_S if follow else 0.0) as store:
            async for stored in store.follow(run_id, after) if follow else _recorded(store, run_id, after):
                yield LogEntry(position=stored.position, scope=stored.scope, event=stored.event)

    async def history(self, run_id: str, after: int) -> AsyncIterator[Event]:
        """Yield the recorded events of the run itself numbered above `after`, of a run that its server has forgotten.

        Raises:
            RunNotFound: the store does not know it either.
            PlatformError: no store is configured, or it does not answer.
        """
        async with self._open(f"the events of run {run_id!r}") as store:
            await store.run(run_id)
            while page := await store.events_of_scope(run_id, "", after):
                for stored in page:
                    yield stored.event
                after = page[-1].seq

    async def turns_begun(self, conversation_id: str, tenant: str) -> int:
        """Count the runs of a conversation.

        Raises:
            PlatformError: no store is configured, or it does not answer.
        """
        async with self._open(f"the turns of conversation {conversation_id!r}") as store:
            return await store.turns_begun(conversation_id, tenant)

    @contextmanager
    def watch(self, run_id: str) -> Generator[Watch | None]:
        """Watch what is new of a run for the length of the block; None where no store can be watched."""
        board = self._board() if self.configured else None
        if board is None:
            yield None
            return
        with board.watch(run_id) as watch:
            yield watch

    def _board(self) -> Board | None:
        loop = asyncio.get_running_loop()
        if loop not in self._boards:
            try:
                from perdure_store.news import board_of

                self._boards = {loop: board_of(self._url or "")}
            except (ImportError, PlatformError):
                return None
        return self._boards[loop]

    @property
    def url(self) -> str | None:
        """Where the store is."""
        return self._url

    @property
    def configured(self) -> bool:
        """Whether there is a store to read."""
        return bool(self._url) and self._url != _OFF

    def reading(self, what: str) -> AbstractAsyncContextManager[Store]:
        """Open the store for a block; `what` is to be read.

        Raises:
            PlatformError: no store is configured, or it does not answer.
        """
        return self._open(what)

    def _open(self, what: str, wait_s: float = 0.0) -> AbstractAsyncContextManager[Store]:
        if not self._url or not self.configured:
            raise PlatformError(
                f"{what} can only be read from the run store, and none is configured here. "
                f"Set {STORE_VARIABLE} to the one that the workers record to."
            )
        try:
            from perdure_store.read import Store
        except ImportError as error:
            raise PlatformError(
                f"{what} can only be read from the run store, which needs the worker extra ({error}). Install it: "
                "pip install 'perdure[worker]'"
            ) from error
        return Store.open(self._url, wait_s=wait_s)


async def _recorded(store: Store, run_id: str, after: int) -> AsyncIterator[StoredEvent]:
    await store.run(run_id)
    while page := await store.events(run_id, after):
        for stored in page:
            yield stored
        after = page[-1].position
