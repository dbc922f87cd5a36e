"""What a worker makes once, when it is first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Generic, TypeVar

from perdure_activities.heartbeat import heartbeats

T = TypeVar("T")


class Once(Generic[T]):
    """Makes something with the first call, for all; what failed is tried anew with the next."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self._make = make
        self._name = name
        self._making: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Give it. Raises what making it does."""
        making = self._making
        if making is not None and making.done() and making.exception() is None:
            return making.result()
        if making is None or making.done():
            making = self._making = asyncio.create_task(self._make(), name=self._name)
        # On a busy machine it takes longer than an activity may be silent.
        async with heartbeats():
            return await asyncio.shield(making)

    async def close(self, close: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        """Close it, if it was made."""
        if self._making is not None:
            with suppress(Exception):
                await close(await self._making)
