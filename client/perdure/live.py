"""Reading the events of a run while it goes on: the recorded ones are asked from the run, live text from the store.

The store also says when there is a new event to ask for, so that nobody waits for the next poll.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from perdure_graph.errors import PerdureError
from perdure_graph.events import Event
from perdure_graph.streams import open_stream
from perdure_graph.view import EventPage

from .children import Children
from .merge import Merge

if TYPE_CHECKING:
    from perdure_store.news import News, Watch

POLL_FIRST_S = 0.05
POLL_MOST_S = 0.5
# How often the run is asked at once because the store shows something new: so many times, then this often.
_AT_ONCE = 5
_AT_ONCE_PER_S = 20.0
# From the end of a text until the run has it; and until a run shows what it held back.
_MOMENT_S = 0.02
# How many events back an open stream is looked for where the run keeps none of them.
_LOOK_BACK = 500


class Pace:
    """When to ask a run for events: soon after some came, then less and less often; at once when there is news."""

    def __init__(self) -> None:
        self._wait = POLL_FIRST_S
        self._due = 0.0
        self._tokens = float(_AT_ONCE)
        self._counted = 0.0

    def answered(self, now: float, *, fruitful: bool) -> None:
        """Note an answer."""
        self._wait = POLL_FIRST_S if fruitful else min(self._wait * 1.5, POLL_MOST_S)
        self._due = now + self._wait

    def news(self, now: float) -> None:
        """Ask now, or as soon as that may be."""
        self._tokens = min(float(_AT_ONCE), self._tokens + (now - self._counted) * _AT_ONCE_PER_S)
        self._counted = now
        if self._tokens >= 1:
            self._tokens -= 1
            self._due = now
        else:
            self._due = min(self._due, now + (1 - self._tokens) / _AT_ONCE_PER_S)

    def soon(self, now: float) -> None:
        """Ask in a moment, and then more often: an event is due any time now, of which the store need not know."""
        self._wait = POLL_FIRST_S
        self._due = min(self._due, now + _MOMENT_S)

    def left(self, now: float) -> float:
        """Seconds until it is time to ask."""
        return max(0.0, self._due - now)


class Source(Protocol):
    """Where the events of a run are."""

    async def page(self, after: int) -> EventPage:
        """Ask the run for the events after a number."""
        ...

    async def older(self, after: int, before: int) -> list[Event]:
        """Give the events above one number and below another, which the run keeps no more."""
        ...

    def history(self, after: int) -> AsyncIterator[Event]:
        """Yield the recorded events of a run that its server has forgotten."""
        ...


class Reader:
    """Reads one run from the event after a number to its end, with what its `children` tell. Without a watch only
    what is recorded.
    """

    def __init__(self, source: Source, after: int, watch: Watch | None, children: Children) -> None:
        self._source = source
        self._after = after
        self._watch = watch
        self._children = children
        self._merge = Merge(after)
        self._resumed = after > 0 and watch is not None
        self._ended = False
        # Numbers of the last event that the store has shown, and of the one for which the run was asked.
        self._heard = 0
        self._asked_for = 0

    async def events(self) -> AsyncGenerator[Event]:
        """Yield events and live text until the run has ended."""
        pace = Pace()
        asking: asyncio.Task[EventPage] | None = None
        hearing = self._hear()
        try:
            while not self._ended:
                left = pace.left(time.monotonic())
                if asking is None and not left:
                    self._asked_for = self._heard
                    asking = asyncio.ensure_future(self._source.page(self._after))
                await _first_of((asking, hearing), None if asking else left)
                if hearing is not None and hearing.done():
                    news, hearing = hearing.result(), self._hear()
                    whole = self._merge.whole
                    for event in self._told(news):
                        yield event
                    if self._merge.whole and not whole:
                        pace.soon(time.monotonic())
                if asking is not None and asking.done():
                    page, asking = asking.result(), None
                    taken = await self._taken(page)
                    pace.answered(time.monotonic(), fruitful=bool(taken))
                    if page.held:
                        pace.soon(time.monotonic())
                    for event in taken:
                        yield event
                if asking is None and self._heard > max(self._after, self._asked_for):
                    pace.news(time.monotonic())
        finally:
            tasks: list[asyncio.Task[Any]] = [task for task in (asking, hearing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._children.close()

    async def so_far(self) -> list[Event]:
        """Give what there is now, without waiting for more."""
        out: list[Event] = []
        try:
            self._children.want()
            while not self._ended:
                page = await self._source.page(self._after)
                out += await self._taken(page)
                if page.held:
                    await asyncio.sleep(_MOMENT_S)
                elif not page.events:
                    break
        finally:
            await self._children.close()
        return out

    async def recorded(self) -> AsyncGenerator[Event]:
        """Go on with what is recorded, of a run that its server has forgotten."""
        for event in await self._resume(None):
            yield event
        try:
            self._children.want()
            await self._children.fetch()
            async for recorded in self._source.history(self._after):
                for event in [*self._children.until(recorded), *self._shown(recorded)]:
                    yield event
            for event in self._children.rest(self._after):
                yield event
        finally:
            await self._children.close()

    def _hear(self) -> asyncio.Task[News] | None:
        return None if self._watch is None else asyncio.ensure_future(self._watch.news())

    def _told(self, news: News) -> list[Event]:
        """Give the text that is new."""
        self._heard = max(self._heard, news.last_seq)
        pieces = self._merge.pieces(news.deltas, int(time.time() * 1000))
        self._want()
        return pieces

    async def _taken(self, page: EventPage) -> list[Event]:
        """Give what a page means for the reader."""
        out = await self._resume(page)
        lacks = page.first > self._after + 1
        older = await self._source.older(self._after, page.first) if lacks else []
        events = [*older, *page.events]
        for event in events:
            self._children.look(event)
        # Behind the page: what is below the run is recorded before the run hears of it.
        await self._children.fetch()
        for event in events:
            out += [*self._children.until(event), *self._shown(event)]
        if not (events or page.ended):
            out += self._children.rest(self._after)
        self._want()
        self._ended = page.ended
        return out

    def _shown(self, event: Event) -> list[Event]:
        self._after = event.seq
        return [event] if self._watch is None else self._merge.event(event)

    async def _resume(self, page: EventPage | None) -> list[Event]:
        """Take back, once, what another reader may have been shown of a stream that was open then."""
        if not self._resumed:
            return []
        self._resumed = False
        stream = None if page is None else page.open
        if page is None or page.first > self._after:
            with suppress(PerdureError):
                stream = open_stream(await self._source.older(max(0, self._after - _LOOK_BACK), self._after + 1))
        return [] if stream is None else self._merge.resume(stream)

    def _want(self) -> None:
        if self._watch is not None:
            cursor = self._merge.cursor
            self._watch.want(cursor.key, cursor.epoch, cursor.n)


async def _first_of(tasks: Iterable[asyncio.Task[Any] | None], seconds: float | None) -> None:
    waiting = [task for task in tasks if task is not None]
    if waiting:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(seconds or 0.0)
