"""Reranking as Cohere, Jina, vLLM and others speak it: POST {base}/rerank."""

from __future__ import annotations

import math
from typing import Any, cast

import httpx2

from .embeddings import read_object
from .openai_errors import fault_of, fault_told
from .protocol import Endpoint, ModelFault, Ranked
from .stream.faults import cut, error_object, hidden, unreadable
from .stream.wire import Clients, body_kind, retry_after_s


class HttpReranker:
    """Asks a server to rank."""

    def __init__(self) -> None:
        self._clients = Clients[httpx2.AsyncClient](lambda _, http: http, httpx2.AsyncClient.aclose)

    async def rerank(
        self, endpoint: Endpoint, model: str, query: str, documents: tuple[str, ...], top_n: int | None
    ) -> tuple[Ranked, ...]:
        """Rank documents, best first; see `Reranker.rerank`."""
        if not documents:
            return ()
        body: dict[str, Any] = {"model": model, "query": query, "documents": list(documents)}
        if top_n is not None:
            body["top_n"] = min(top_n, len(documents))
        headers = {"Authorization": f"Bearer {endpoint.api_key or 'none'}", **dict(endpoint.headers)}
        url = f"{endpoint.base_url.rstrip('/')}/rerank"
        try:
            async with self._clients.use(endpoint) as client:
                reply = await client.post(url, json=body, headers=headers)
            if not reply.is_success:
                raise _refused(reply)
            body_kind(reply.headers)
            ranked = _ranked(read_object(reply.content), len(documents))
        except Exception as error:
            raise hidden(fault_of(error), endpoint) from None
        return ranked if top_n is None else ranked[:top_n]

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()


def _refused(reply: httpx2.Response) -> ModelFault:
    try:
        body = reply.json()
    except ValueError:
        body = None
    found = error_object(body) or (cast("dict[str, Any]", body) if isinstance(body, dict) else {})
    said = "" if found else cut(reply.text)
    return fault_told(found, status=reply.status_code, retry_after=retry_after_s(reply.headers), said=said)


def _ranked(body: dict[str, Any], documents: int) -> tuple[Ranked, ...]:
    results: Any = body.get("results")
    if not isinstance(results, list):
        raise unreadable("the reply of the reranker has no `results`")
    ranked: dict[int, Ranked] = {}
    for entry in cast("list[Any]", results):
        try:
            index, score = int(entry["index"]), float(entry.get("relevance_score", entry.get("score")))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise unreadable("a result of the reranker has no `index` and `relevance_score`") from None
        if not 0 <= index < documents or not math.isfinite(score):
            raise unreadable(f"the reranker ranks document {index} of {documents} with {score}")
        ranked.setdefault(index, Ranked(index, score))
    return tuple(sorted(ranked.values(), key=lambda one: (-one.score, one.index)))
