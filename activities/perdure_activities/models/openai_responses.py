"""The wire of OpenAI's Responses, for its models that reason. Nothing is kept on the server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import httpx2

from .openai_client import clients, events, in_our_words, load
from .openai_errors import fault_of
from .openai_responses_reply import ResponseReader
from .openai_responses_request import request
from .protocol import Delta, Endpoint, ModelCall
from .stream.tool_answer import ToolAnswer
from .stream.wire import is_simulated, rate_headers


class OpenAIResponses:
    """Speaks Responses."""

    def __init__(self) -> None:
        self._clients = clients()

    async def stream(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        """Call the model; see `Adapter.stream`."""
        reader = ResponseReader(endpoint.provider)
        answer = ToolAnswer(call)
        said = in_our_words(endpoint, self._stream(endpoint, call, reader), lambda: reader.said)
        async with aclosing(said) as deltas:
            async for delta in deltas:
                for told in answer.take(delta):
                    yield told

    async def _stream(self, endpoint: Endpoint, call: ModelCall, reader: ResponseReader) -> AsyncGenerator[Delta]:
        await load()
        async with self._clients.use(endpoint) as client:
            body = request(endpoint, call)
            raw: Any = client.responses.with_raw_response
            told = await raw.create(
                model=body.pop("model"), input=body.pop("input"), stream=body.pop("stream"), extra_body=body
            )
            reply: httpx2.Response = told.http_response
            try:
                yield rate_headers(reply.headers)
                async with aclosing(events(reply)) as happened:
                    async for event in happened:
                        for delta in reader.read(event):
                            yield delta
            except Exception as error:
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
