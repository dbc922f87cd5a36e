"""Embeddings over the OpenAI wire, which compatible servers speak too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from perdure_graph.models.usage import Tokens

from .openai_chat_reply import count, inner
from .openai_client import clients, load
from .openai_errors import fault_in, fault_of
from .protocol import Embedded, Endpoint, ModelFault
from .stream.faults import hidden, unreadable
from .stream.wire import body_kind

MOST_TEXTS = 256


class OpenAIEmbeddings:
    """Speaks Embeddings."""

    def __init__(self) -> None:
        self._clients = clients()

    async def embed(self, endpoint: Endpoint, model: str, texts: tuple[str, ...], dimensions: int | None) -> Embedded:
        """Embed texts, so many at a time as servers take; see `Embedder.embed`."""
        await load()
        vectors: list[tuple[float, ...]] = []
        tokens = Tokens()
        try:
            for start in range(0, len(texts), MOST_TEXTS):
                batch = texts[start : start + MOST_TEXTS]
                body = await self._post(endpoint, model, batch, dimensions)
                vectors += _vectors(body, len(batch))
                used = count(inner(body, "usage"), "prompt_tokens") or count(inner(body, "usage"), "total_tokens")
                tokens = tokens.plus(Tokens(prompt=used, estimated=not used))
        except Exception as error:
            raise hidden(fault_of(error), endpoint) from None
        return Embedded(tuple(vectors), tokens)

    async def _post(
        self, endpoint: Endpoint, model: str, texts: Sequence[str], dimensions: int | None
    ) -> dict[str, Any]:
        async with self._clients.use(endpoint) as client:
            # Said outright: the SDK asks for base64 by itself, which not every server knows.
            more: dict[str, Any] = {"encoding_format": "float"} | ({"dimensions": dimensions} if dimensions else {})
            raw: Any = client.embeddings.with_raw_response
            reply = await raw.create(model=model, input=list(texts), **more)
            body_kind(reply.headers)
            return read_object(reply.http_response.content)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()


def read_object(content: bytes) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelFault: it is an error.
        ValueError: it is no JSON.
    """
    body = json.loads(content)
    if not isinstance(body, dict):
        raise unreadable("the provider's reply is no JSON object")
    if (fault := fault_in(cast("dict[str, Any]", body))) is not None:
        raise fault
    return cast("dict[str, Any]", body)


def _vectors(body: dict[str, Any], expected: int) -> list[tuple[float, ...]]:
    """Read the vectors in the order of the texts."""
    found: dict[int, tuple[float, ...]] = {}
    data: Any = body.get("data")
    for place, entry in enumerate(cast("list[Any]", data) if isinstance(data, list) else []):
        try:
            found[int(entry.get("index", place))] = tuple(float(number) for number in entry["embedding"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise unreadable(f"entry {place} of the embeddings cannot be read ({type(error).__name__})") from None
    if set(found) != set(range(expected)):
        raise ModelFault(
            "protocol_error", f"{expected} texts were sent, but {len(found)} vectors came back", maybe_billed=True
        )
    return [found[index] for index in range(expected)]
