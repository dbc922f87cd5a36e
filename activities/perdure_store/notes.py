"""Notes of blobs: handed in at any time, written soon, kept in memory while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from .items import Note

# Of a store that is away the newest are kept; the blobs themselves are elsewhere, and collected there.
MOST_WAITING = 10_000
AT_ONCE = 100
AGAIN_S = 1.0

Write = Callable[[Note], Awaitable[bool]]


class Notes:
    """Writes notes through `write`, again until it says yes. Never keeps anybody waiting."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: dict[tuple[str, str], Note] = {}
        self._task: asyncio.Task[None] | None = None

    def add(self, note: Note) -> None:
        """Take a note."""
        self._waiting[note.run_id, note.key] = note
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="perdure-store-notes")

    async def _run(self) -> None:
        while self._waiting:
            if not await self._round():
                await asyncio.sleep(AGAIN_S)

    async def _round(self) -> bool:
        """Write some, all in one transaction; whether all of them were written."""
        notes = list(self._waiting.items())[:AT_ONCE]
        written = await asyncio.gather(*(self._write(note) for _, note in notes))
        for (key, note), done in zip(notes, written, strict=True):
            if done and self._waiting.get(key) is note:
                del self._waiting[key]
        return all(written)

    async def close(self) -> None:
        """Try a last time and end."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        while self._waiting and await self._round():
            pass
