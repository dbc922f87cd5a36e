"""The wire of OpenAI's Responses, for its models that reason. Nothing is kept on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

from .openai_responses_reply import ResponseReader
from .openai_responses_request import request
from .openai_wire import OpenAIWire
from .protocol import Endpoint, ModelCall

if TYPE_CHECKING:
    from openai import AsyncOpenAI


class OpenAIResponses(OpenAIWire):
    """Speaks Responses."""

    def _reader(self, endpoint: Endpoint) -> ResponseReader:
        return ResponseReader(endpoint.provider)

    async def _open(self, client: AsyncOpenAI, endpoint: Endpoint, call: ModelCall) -> httpx2.Response:
        body = request(endpoint, call)
        raw: Any = client.responses.with_raw_response
        sent = raw.create(model=body.pop("model"), input=body.pop("input"), stream=body.pop("stream"), extra_body=body)
        return (await sent).http_response
