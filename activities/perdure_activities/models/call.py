"""One call of a provider: its answer as it comes, what of it is shown meanwhile, and what is known when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

from perdure_graph.models.usage import Tokens

from .protocol import (
    Adapter,
    Endpoint,
    Headers,
    ModelCall,
    ModelFault,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
)
from .stream.accumulate import Accumulator
from .stream.faults import hidden
from .thinking import Shown

if TYPE_CHECKING:
    from .protocol import Delta
    from .stream.accumulate import Accumulated

_SAID = (TextDelta, ThinkingDelta, RefusalDelta, ToolCallDelta)

Show = Callable[[str], Awaitable[None]]


class Through(Protocol):
    """Takes the text of an answer in pieces, and gives what of it readers see; of one call."""

    def take(self, text: str) -> str:
        """Take the next piece; give what may be seen now."""
        ...

    def finish(self) -> str:
        """Say that no more comes; give the rest."""
        ...


class Listening:
    """An answer while it comes. What it says of time is in seconds since it was begun.

    show: takes each piece of text that is to be read at once; None where nobody reads along.
    through: makes of the text what is to be read, where that is not the text itself.
    """

    def __init__(
        self, call: ModelCall, endpoint: Endpoint, shown: Shown, show: Show | None, through: Through | None = None
    ) -> None:
        self.call = call
        self.endpoint = endpoint
        self.shown = shown
        self.first_delta: float | None = None
        self._show = show
        self._through = through
        self._accumulator = Accumulator(call, endpoint.provider, endpoint.max_reply_bytes)
        self._begun = asyncio.get_running_loop().time()

    @property
    def seconds(self) -> float:
        """Seconds since the call began."""
        return asyncio.get_running_loop().time() - self._begun

    async def to_end(self, adapter: Adapter) -> Accumulated:
        """Call, and take the answer to its end.

        Raises:
            ModelFault: the call failed; without secrets in its text.
        """
        try:
            async with aclosing(adapter.stream(self.endpoint, self.call)) as deltas:
                async for delta in deltas:
                    await self._take(delta)
            await self._give(self.shown.finish())
            if self._through is not None:
                await self._pass(self._through.finish())
            return self._accumulator.accumulated()
        except ModelFault as fault:
            raise hidden(fault, self.endpoint) from None
        except Exception as error:
            # A bug of an adapter. Its text may hold anything, so only its type is told.
            what = f"{type(error).__name__} in the adapter for {self.endpoint.wire}"
            raise ModelFault("internal", what, maybe_billed=True) from None

    @property
    def told(self) -> Tokens | None:
        """What the provider said was used, so far."""
        return self._accumulator.tokens

    @property
    def headers(self) -> Headers:
        """What the headers said."""
        return self._accumulator.headers

    @property
    def written(self) -> str:
        """All that the model wrote so far, thinking and calls included."""
        return "".join(self._accumulator.said_so_far())

    async def _take(self, delta: Delta) -> None:
        self._accumulator.take(delta)
        if self.first_delta is None and isinstance(delta, _SAID):
            self.first_delta = self.seconds
        await self._give(self.shown.take(delta))

    async def _give(self, text: str) -> None:
        await self._pass(self._through.take(text) if text and self._through is not None else text)

    async def _pass(self, text: str) -> None:
        if text and self._show is not None:
            await self._show(text)
