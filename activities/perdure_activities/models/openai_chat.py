"""The wire of OpenAI's Chat Completions, which compatible servers speak too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

from .openai_chat_reply import ChatReader
from .openai_chat_request import request
from .openai_errors import fault_of
from .openai_wire import OpenAIWire
from .protocol import Endpoint, ModelCall
from .stream.wire import in_one_piece

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIChat(OpenAIWire):
    """Speaks Chat Completions and, in mode `completion`, Completions."""

    def __init__(self) -> None:
        super().__init__()
        self._without_usage: set[str] = set()

    def _reader(self, endpoint: Endpoint) -> ChatReader:  # noqa: ARG002 - every chat is read alike
        return ChatReader()

    async def _open(self, client: AsyncOpenAI, endpoint: Endpoint, call: ModelCall) -> httpx2.Response:
        if not call.streamed:
            return await _post(client, request(endpoint, call, with_usage=False), in_one_piece(endpoint))
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


async def _post(client: AsyncOpenAI, body: dict[str, Any], waits: httpx2.Timeout | None = None) -> httpx2.Response:
    # Only what the SDK insists on goes through its parameters: servers have more of them than it knows, and looking at
    # each part of each message takes it longer than all else that it does. What is in `extra_body` wins.
    model = body.pop("model")
    more: dict[str, Any] = {} if waits is None else {"timeout": waits}
    if "prompt" in body:
        old: Any = client.completions.with_raw_response
        sent = old.create(model=model, prompt=body.pop("prompt"), stream=body.pop("stream"), extra_body=body, **more)
    else:
        new: Any = client.chat.completions.with_raw_response
        sent = new.create(model=model, messages=[], stream=body.pop("stream"), extra_body=body, **more)
    return (await sent).http_response
