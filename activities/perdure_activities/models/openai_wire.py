"""What the wires of OpenAI share: a pooled client, a reply read event by event, a request that differs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol

import httpx2

from perdure_graph.models.effects import Finish

from .openai_client import clients, events, in_our_words, load
from .openai_errors import fault_of
from .protocol import Delta, Endpoint, ModelCall
from .stream.tool_answer import ToolAnswer
from .stream.wire import is_simulated, rate_headers

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class Reader(Protocol):
    """Reads the events of one answer. finish: how it ended, once it has. said: whether it has begun."""

    finish: Finish | None
    said: bool

    def read(self, event: dict[str, Any]) -> Iterator[Delta]:
        """Read one event."""
        ...

    def end(self, *, simulated: bool) -> Iterator[Delta]:
        """Say that the answer is complete."""
        ...


class OpenAIWire(ABC):
    """An adapter that asks through the OpenAI SDK; a wire says what it sends, and how the reply is read."""

    def __init__(self) -> None:
        self._clients = clients()

    @abstractmethod
    def _reader(self, endpoint: Endpoint) -> Reader:
        """Make a reader for one answer."""

    @abstractmethod
    async def _open(self, client: AsyncOpenAI, endpoint: Endpoint, call: ModelCall) -> httpx2.Response:
        """Send the request; give the reply, its body not read yet."""

    async def stream(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        """Call the model; see `Adapter.stream`."""
        reader = self._reader(endpoint)
        answer = ToolAnswer(call)
        said = in_our_words(endpoint, self._stream(endpoint, call, reader), lambda: reader.said)
        async with aclosing(said) as deltas:
            async for delta in deltas:
                for told in answer.take(delta):
                    yield told

    async def _stream(self, endpoint: Endpoint, call: ModelCall, reader: Reader) -> AsyncGenerator[Delta]:
        await load()
        async with self._clients.use(endpoint) as client:
            reply = await self._open(client, endpoint, call)
            try:
                yield rate_headers(reply.headers)
                async with aclosing(events(reply)) as happened:
                    async for event in happened:
                        for delta in reader.read(event):
                            yield delta
            except Exception as error:
                # What breaks after the answer is complete may cost its usage, but not the answer.
                if reader.finish is None or fault_of(error).kind not in {"connection", "timeout"}:
                    raise
            finally:
                await reply.aclose()
            for delta in reader.end(simulated=is_simulated(reply.headers)):
                yield delta

    async def warm(self, endpoint: Endpoint) -> None:
        """Open a connection; see `Adapter.warm`."""
        await self._clients.warm(endpoint)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()
