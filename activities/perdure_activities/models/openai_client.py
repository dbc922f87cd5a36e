"""The OpenAI SDK behind all OpenAI wires: its clients, and its replies as plain JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, cast

import httpx2

from .openai_errors import fault_in, fault_of
from .protocol import Delta, Endpoint, ModelFault
from .stream.faults import broken, hidden, unreadable
from .stream.json_in import read_json
from .stream.sse import SseReader
from .stream.wire import Clients, body_kind, read_out

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_DONE = "[DONE]"
_NO_EVENTS = frozenset({"ping", "keepalive", "keep-alive"})
MODULES = ("openai", "openai.resources.chat.completions", "openai.resources.responses")


async def load() -> None:
    """Import the SDK, away from the event loop: it takes half a second."""
    if MODULES[-1] not in sys.modules:
        for name in MODULES:
            await asyncio.to_thread(importlib.import_module, name)


def clients() -> Clients[AsyncOpenAI]:
    """Make a pool of SDK clients; `load` must have been awaited before one is used."""
    return Clients(_client, _close)


def _client(endpoint: Endpoint, http: httpx2.AsyncClient) -> AsyncOpenAI:
    from openai import AsyncOpenAI

    # Said outright, the SDK does not take it from the environment, which knows nothing of this endpoint.
    key = endpoint.api_key or "none"
    client = AsyncOpenAI(
        api_key=key,
        admin_api_key="",
        base_url=endpoint.base_url,
        max_retries=0,
        default_headers=_headers(endpoint, key),
        http_client=http,
    )
    client.organization = client.project = None
    return client


def _headers(endpoint: Endpoint, key: str) -> dict[str, str]:
    names = {name.lower() for name, _ in endpoint.headers}
    ours = {} if "authorization" in names else {"Authorization": f"Bearer {key}"}
    return {**ours, **dict(endpoint.headers)}


async def _close(client: AsyncOpenAI) -> None:
    await client.close()


async def events(response: httpx2.Response) -> AsyncGenerator[dict[str, Any]]:
    """Yield the events of a reply as they come; a reply in one piece is one event.

    Raises:
        ModelFault: a page instead of a reply, an event that is no object, an error in one.
        Exception: of httpx2 or JSON; `fault_of` reads it.
    """
    if body_kind(response.headers) == "json":
        yield _object(read_json(await response.aread()))
        return
    reader = SseReader()
    async with aclosing(response.aiter_bytes()) as parts:
        async for part in parts:
            for sent in reader.feed(part):
                if sent.data.startswith(_DONE):
                    await read_out(parts)
                    return
                if sent.name not in _NO_EVENTS:
                    yield _object(read_json(sent.data), sent.name)
    for sent in reader.end():
        # What is cut off in its middle says nothing; the answer is then not complete.
        with suppress(ValueError):
            yield _object(read_json(sent.data), sent.name)


def _object(event: object, name: str = "") -> dict[str, Any]:
    if not isinstance(event, dict):
        raise unreadable("the provider sent an event that is no object", json.dumps(event)[:200])
    told = cast("dict[str, Any]", event)
    if name and "type" not in told:
        told = {**told, "type": name}
    if (fault := fault_in(told)) is not None:
        raise fault
    return told


async def in_our_words(
    endpoint: Endpoint, deltas: AsyncGenerator[Delta], begun: Callable[[], bool]
) -> AsyncGenerator[Delta]:
    """Pass deltas on, and turn every error into a fault without secrets.

    begun: whether the answer had begun; a connection that fails later has broken the stream.
    """
    try:
        async for delta in deltas:
            yield delta
    except Exception as error:
        fault = hidden(fault_of(error), endpoint)
        raise (broken(fault) if begun() else fault) from None
    finally:
        await deltas.aclose()


def said_nothing(event: dict[str, Any] | None) -> ModelFault:
    """Say that a reply held no answer at all."""
    if event is None:
        return unreadable("the provider's reply is empty; check that the base URL is that of the API")
    return unreadable("the provider's reply holds no answer", json.dumps(event, ensure_ascii=False)[:500])
