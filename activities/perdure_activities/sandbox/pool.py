"""A bounded set of sandbox children: kept and reused, or used once. Started when first needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from . import jail
from .child import Child, ChildSpec
from .failures import ChildCrashed


class ChildPool:
    """Lend each child to one caller at a time; callers beyond `size` queue in order."""

    def __init__(self, size: int) -> None:
        self._slots = asyncio.Semaphore(size)
        self._idle: list[Child] = []
        self._all: set[Child] = set()
        self._closed = False

    @asynccontextmanager
    async def lend(self, spec: ChildSpec, *, keep: bool = False) -> AsyncGenerator[Child]:
        """Lend a child; with `keep` it is an idle one where there is one, and goes back when it is healthy.

        A pool that keeps children is used with one spec only.
        """
        async with self._slots:
            child = self._take() if keep else None
            child = child or await self._start(spec)
            try:
                yield child
            finally:
                if keep and child.alive and not self._closed:
                    self._idle.append(child)
                else:
                    await self._end(child)

    def _take(self) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            if child.alive:
                return child
            child.kill()
            self._all.discard(child)
        return None

    async def _start(self, spec: ChildSpec) -> Child:
        if self._closed:
            raise ChildCrashed("the sandbox is closed")
        child = await Child.start(spec, jailed=await jail.usable())
        self._all.add(child)
        if self._closed:
            await self._end(child)
            raise ChildCrashed("the sandbox was closed while a process started")
        return child

    async def _end(self, child: Child) -> None:
        child.kill()
        self._all.discard(child)
        # Reap it here, but not at the price of a caller that is being cancelled.
        await asyncio.shield(child.close())

    def abandon(self) -> None:
        """Kill every child, lent or idle; for a pool whose event loop is closed already."""
        self._closed = True
        self._idle.clear()
        for child in self._all:
            child.kill()

    async def close(self) -> None:
        """Kill every child, lent or idle, and wait until they are gone."""
        self.abandon()
        await asyncio.gather(*(child.close() for child in self._all))
        self._all.clear()
