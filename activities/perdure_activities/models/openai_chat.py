"""The wire of OpenAI's Chat Completions, which compatible servers speak too."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import httpx2

from .openai_chat_reply import ChatReader
from .openai_chat_request import request
from .openai_client import clients, events, in_our_words, load
from .openai_errors import fault_of
from .protocol import Delta, Endpoint, ModelCall
from .stream.tool_answer import ToolAnswer
from .stream.wire import is_simulated, rate_headers

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIChat:
    """Speaks Chat Completions and, in mode `completion`, Completions."""

    def __init__(self) -> None:
        self._clients = clients()
        self._without_usage: set[str] = set()

    async def stream(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        """Call the model; see `Adapter.stream`."""
        reader = ChatReader()
        answer = ToolAnswer(call)
        said = in_our_words(endpoint, self._stream(endpoint, call, reader), lambda: reader.said)
        async with aclosing(said) as deltas:
            async for delta in deltas:
                for told in answer.take(delta):
                    yield told

    async def _stream(self, endpoint: Endpoint, call: ModelCall, reader: ChatReader) -> AsyncGenerator[Delta]:
        await load()
        async with self._clients.use(endpoint) as client:
            reply = await self._open(client, endpoint, call)
            try:
                yield rate_headers(reply.headers)
                async with aclosing(events(reply)) as chunks:
                    async for chunk in chunks:
                        for delta in reader.read(chunk):
                            yield delta
            except Exception as error:
                # What breaks after the answer is complete may cost its usage, but not the answer.
                if reader.finish is None or fault_of(error).kind not in {"connection", "timeout"}:
                    raise
            finally:
                await reply.aclose()
            for delta in reader.end(simulated=is_simulated(reply.headers)):
                yield delta

    async def _open(self, client: AsyncOpenAI, endpoint: Endpoint, call: ModelCall) -> httpx2.Response:
        with_usage = endpoint.base_url not in self._without_usage
        try:
            return await _post(client, request(endpoint, call, with_usage=with_usage))
        except Exception as error:
            fault = fault_of(error)
            about_usage = "stream_options" in f"{fault.parameter} {fault.message}"
            if not with_usage or fault.kind != "bad_request" or not about_usage:
                raise
        reply = await _post(client, request(endpoint, call, with_usage=False))
        self._without_usage.add(endpoint.base_url)
        return reply

    async def warm(self, endpoint: Endpoint) -> None:
        """Open a connection; see `Adapter.warm`."""
        await self._clients.warm(endpoint)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()


async def _post(client: AsyncOpenAI, body: dict[str, Any]) -> httpx2.Response:
    # Only what the SDK insists on goes through its parameters: servers have more of them than it knows.
    model = body.pop("model")
    if "prompt" in body:
        old: Any = client.completions.with_raw_response
        sent = old.create(model=model, prompt=body.pop("prompt"), stream=body.pop("stream"), extra_body=body)
    else:
        new: Any = client.chat.completions.with_raw_response
        sent = new.create(model=model, messages=body.pop("messages"), stream=body.pop("stream"), extra_body=body)
    return (await sent).http_response
