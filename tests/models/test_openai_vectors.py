"""Embeddings and reranking over a real socket."""

from __future__ import annotations

from typing import Any

import pytest

from fakes.provider_bytes import Answer, Provider, provider, whole
from perdure_activities.models.embeddings import OpenAIEmbeddings
from perdure_activities.models.protocol import Endpoint, ModelFault, Ranked
from perdure_activities.models.rerank import HttpReranker


def vectors(start: int, count: int, **more: Any) -> Answer:
    data = [{"index": n, "embedding": [float(start + n), 0.5]} for n in reversed(range(count))]
    return whole({"object": "list", "data": data, "usage": {"prompt_tokens": count, "total_tokens": count}, **more})


async def embed(served: Provider, *texts: str, dimensions: int | None = None) -> Any:
    embedder = OpenAIEmbeddings()
    try:
        return await embedder.embed(served.endpoint(), "e-1", texts, dimensions)
    finally:
        await embedder.close()


async def test_texts_are_sent_in_batches_and_vectors_keep_their_order() -> None:
    texts = [f"t{n}" for n in range(300)]
    async with provider(vectors(0, 256), vectors(256, 44)) as served:
        embedded = await embed(served, *texts, dimensions=2)
    assert [vector[0] for vector in embedded.vectors] == [float(n) for n in range(300)]
    assert (embedded.tokens.prompt, embedded.tokens.estimated) == (300, False)
    assert [len(served.body(n)["input"]) for n in range(2)] == [256, 44]
    first = served.body(0)
    assert (first["model"], first["dimensions"], first["encoding_format"]) == ("e-1", 2, "float")


async def test_no_texts_need_no_call() -> None:
    async with provider(vectors(0, 1)) as served:
        assert (await embed(served)).vectors == ()
    assert served.requests == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (vectors(0, 1), "protocol_error"),
        (whole({"data": [{"index": 0}, {"index": 1}]}), "protocol_error"),
        (whole({"data": None}), "protocol_error"),
        (whole(b"{"), "protocol_error"),
        (whole(b"<html>", media="text/html"), "protocol_error"),
        (whole({"error": {"message": "x", "code": "rate_limit_exceeded"}}), "rate_limited"),
        (whole({"error": {"message": "sk-secret-key is wrong"}}, 401), "auth"),
        (Answer((), cut=True), "connection"),
    ],
)
async def test_embeddings_that_fail(answer: Answer, kind: str) -> None:
    async with provider(answer) as served:
        with pytest.raises(ModelFault) as fault:
            await embed(served, "a", "b")
    assert fault.value.kind == kind
    assert "sk-secret-key" not in str(fault.value)


async def rerank(endpoint: Endpoint, *documents: str, top_n: int | None = None) -> tuple[Ranked, ...]:
    reranker = HttpReranker()
    try:
        return await reranker.rerank(endpoint, "r-1", "q", documents, top_n)
    finally:
        await reranker.close()


async def test_documents_are_ranked_best_first() -> None:
    results = [{"index": 0, "relevance_score": 0.1}, {"index": 2, "relevance_score": 0.9}, {"index": 1, "score": 0.5}]
    async with provider(whole({"results": results})) as served:
        ranked = await rerank(served.endpoint(headers=(("X-Team", "t"),)), "a", "b", "c", top_n=2)
        assert await rerank(served.endpoint()) == ()
    assert ranked == (Ranked(2, 0.9), Ranked(1, 0.5))
    assert served.body() == {"model": "r-1", "query": "q", "documents": ["a", "b", "c"], "top_n": 2}
    request = served.requests[0]
    assert (request.target, request.header("authorization")) == ("/v1/rerank", "Bearer sk-secret-key")
    assert request.header("x-team") == "t"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (whole({"results": [{"index": 5, "relevance_score": 1}]}), "protocol_error"),
        (whole({"results": [{"relevance_score": 1}]}), "protocol_error"),
        (whole({"results": [{"index": 0, "relevance_score": None}]}), "protocol_error"),
        (whole({}), "protocol_error"),
        (whole([]), "protocol_error"),
        (whole({"message": "sk-secret-key is wrong"}, 401), "auth"),
        (whole(b"busy", 429, "text/plain", Retry_After="3"), "rate_limited"),
        (whole(b"", 307, Location="http://example.test/"), "protocol_error"),
        (Answer((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",), cut=True), "connection"),
    ],
)
async def test_rankings_that_fail(answer: Answer, kind: str) -> None:
    async with provider(answer) as served:
        with pytest.raises(ModelFault) as fault:
            await rerank(served.endpoint(), "a")
    assert fault.value.kind == kind
    assert fault.value.retry_after_s == (3.0 if kind == "rate_limited" else None)
    assert "sk-secret-key" not in str(fault.value)
