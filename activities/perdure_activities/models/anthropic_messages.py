"""The wire of Anthropic's Messages API, also spoken by gateways."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, cast

from .anthropic_errors import fault_of
from .anthropic_request import request_of
from .anthropic_stream import Event, Reply
from .protocol import Delta, Endpoint, Finished, ModelCall
from .stream.faults import broken, unfinished, unreadable
from .stream.json_in import read_json
from .stream.tool_answer import ToolAnswer
from .stream.wire import Clients, body_kind, is_simulated, rate_headers, read_out

if TYPE_CHECKING:
    import httpx2
    from anthropic import AsyncAnthropic, AsyncStream
    from anthropic.types import RawMessageStreamEvent

# It logs whole requests: prompts.
logging.getLogger("anthropic").setLevel(logging.WARNING)

# How often a reply that the provider paused is sent back to be continued.
MAX_PAUSES = 5
# A connection is used again only if its reply was read to the end, which is there already or comes too late.


class AnthropicMessages:
    """Speaks the Messages API with the official SDK, without its retries and its reading of events."""

    def __init__(self) -> None:
        self._clients = Clients(make=_client, end=_close)

    async def stream(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        """Call the model and yield its answer as it comes."""
        answer = ToolAnswer(call)
        async with aclosing(self._replies(endpoint, call)) as deltas:
            async for delta in deltas:
                for told in answer.take(delta):
                    yield told

    async def warm(self, endpoint: Endpoint) -> None:
        """Open a connection; see `Adapter.warm`."""
        await self._clients.warm(endpoint)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    async def _replies(self, endpoint: Endpoint, call: ModelCall) -> AsyncGenerator[Delta]:
        body = request_of(endpoint, call)
        reply = Reply(endpoint.provider)
        async with self._clients.use(endpoint) as client:
            for turn in range(MAX_PAUSES + 1):
                exchange = _Exchange(client, body, reply)
                async with aclosing(exchange.deltas(first=turn == 0)) as deltas:
                    async for delta in deltas:
                        yield delta
                if reply.stop != "pause_turn" or turn == MAX_PAUSES:
                    yield Finished(reply.finish, model=reply.model, simulated=exchange.simulated)
                    return
                # A message of its own each time, as it came: only so is it known for a paused one.
                paused = {"role": "assistant", "content": reply.blocks}
                body = {**body, "messages": [*body["messages"], *([paused] if reply.blocks else [])]}
                reply = Reply(endpoint.provider, before=reply.tokens, slot=reply.slot)


class _Exchange:
    """One request and its reply."""

    def __init__(self, client: AsyncAnthropic, body: dict[str, Any], reply: Reply) -> None:
        self.simulated = False
        self._client = client
        self._body = body
        self._reply = reply

    async def deltas(self, *, first: bool) -> AsyncGenerator[Delta]:
        begun = False
        try:
            async with await self._send() as stream:
                headers = stream.response.headers
                self.simulated = is_simulated(headers)
                if first:
                    yield rate_headers(headers)
                if body_kind(headers) == "json":
                    for delta in self._reply.take_whole(_object(await stream.response.aread())):
                        yield delta
                    return
                events = _events(stream)
                async with aclosing(events):
                    async for event in events:
                        begun = True
                        for delta in self._reply.take(event):
                            yield delta
                        if self._reply.done:
                            await read_out(events)
                            return
        except Exception as error:
            # The error may hold the request with its key, so it does not go on.
            fault = fault_of(error)
            raise (broken(fault) if begun else fault) from None
        raise unfinished() if begun else unreadable("the provider's stream holds no event")

    async def _send(self) -> AsyncStream[RawMessageStreamEvent]:
        return await self._client.messages.create(**self._body, stream=True)


async def _events(stream: AsyncStream[RawMessageStreamEvent]) -> AsyncGenerator[Event]:
    # Some gateways leave out the `event:` lines, without which the SDK sees nothing; each event names its type.
    async for sent in cast("AsyncIterator[Any]", stream.raw_events(stream.response)):
        if sent.data and sent.event != "ping":
            event = _object(sent.data)
            yield event if "type" in event or not sent.event else {**event, "type": sent.event}


def _object(data: str | bytes) -> dict[str, Any]:
    shown = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        value = read_json(data)
    except (ValueError, RecursionError):
        raise unreadable("the provider sent something that is no JSON", shown[:200]) from None
    if not isinstance(value, dict):
        raise unreadable("the provider sent JSON that is no object", shown[:200])
    return cast("dict[str, Any]", value)


def _client(endpoint: Endpoint, http: httpx2.AsyncClient) -> AsyncAnthropic:
    from anthropic import AsyncAnthropic

    headers = dict(endpoint.headers)
    if endpoint.profile != "anthropic" and endpoint.api_key:
        # The SDK sends a bearer token, older gateways look for this.
        headers.setdefault("x-api-key", endpoint.api_key)
    return AsyncAnthropic(
        api_key=endpoint.api_key or "none",
        base_url=endpoint.base_url.rstrip("/").removesuffix("/v1"),
        max_retries=0,
        timeout=http.timeout,
        default_headers=headers,
        http_client=http,
        open_telemetry=False,
    )


async def _close(client: AsyncAnthropic) -> None:
    await client.close()
