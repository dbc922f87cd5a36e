"""Use the client without async code: one runner, no second set of classes.

with Sync() as sync:
    client = sync(Client.connect())
    handle = sync(client.start(graph, inputs))
    for event in sync.iterate(handle.events()):
        ...
    sync(handle.approve("agent#call_1"))
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Sync:
    """Runs coroutines one after the other on an event loop of its own."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        """Open the loop."""
        self._runner.get_loop()
        return self

    def __exit__(self, *_: object) -> None:
        """Close the loop."""
        self._runner.close()

    def __call__(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run one coroutine to its end and return its result."""
        return self._runner.run(coroutine)

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """Turn an async iterator into a plain one."""

        async def following() -> T:
            return await anext(items)

        while True:
            try:
                yield self(following())
            except StopAsyncIteration:
                return
