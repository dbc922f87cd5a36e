"""Embeddings and reranking: every word is hashed to a few coordinates, so texts that share words are close."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from typing import cast

from ..asked import Asked, objects
from ..counting import count
from ..instances import words
from ..plans import Json

_DIMENSIONS = 1536
_PLACES = 4


def embed(text: str, dimensions: int = _DIMENSIONS) -> tuple[float, ...]:
    """Give the unit vector of a text."""
    vector = [0.0] * dimensions
    for word in words(text) or [text]:
        mark = hashlib.sha256(word.encode()).digest()
        for place in range(_PLACES):
            number = int.from_bytes(mark[place * 5 : place * 5 + 4], "big")
            vector[number % dimensions] += 1.0 if mark[place * 5 + 4] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector))
    if not length:
        vector[0], length = 1.0, 1.0
    return tuple(value / length for value in vector)


def embeddings(asked: Asked) -> Json:
    """Give the body of an embeddings answer."""
    body = asked.body
    texts = _inputs(body.get("input"))
    dimensions = int(body.get("dimensions") or _DIMENSIONS)
    as_text = body.get("encoding_format") == "base64"
    data: list[Json] = []
    for index, text in enumerate(texts):
        vector = embed(text, dimensions)
        packed = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if as_text else list(vector)
        data.append({"object": "embedding", "index": index, "embedding": packed})
    used = sum(count(text) for text in texts)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return {"object": "list", "data": data, "model": asked.model, "usage": usage}


def rerank(asked: Asked) -> Json:
    """Give the body of a rerank answer, in the form of Cohere with the fields of Jina beside it."""
    body = asked.body
    given = cast("list[object]", body.get("documents") or [])
    documents = [one if isinstance(one, str) else str(objects([one])[0].get("text", "")) for one in given]
    query = embed(str(body.get("query", "")), 256)

    def score(text: str) -> float:
        product = sum(one * other for one, other in zip(query, embed(text, 256), strict=True))
        return round(max(0.0, min(1.0, product)), 6)

    ranked = sorted(enumerate(map(score, documents)), key=lambda pair: (-pair[1], pair[0]))
    used = sum(count(text) for text in (str(body.get("query", "")), *documents))
    results: list[Json] = []
    for index, value in ranked[: int(body.get("top_n") or len(ranked))]:
        document = {"document": {"text": documents[index]}} if body.get("return_documents") else {}
        results.append({"index": index, "relevance_score": value, **document})
    return {
        "id": f"rerank-{asked.digest[:24]}",
        "model": asked.model,
        "results": results,
        "usage": {"total_tokens": used, "prompt_tokens": used},
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }


def _inputs(value: object) -> list[str]:
    """Give the texts of `input`: one, a list of them, or lists of token numbers."""
    if isinstance(value, str):
        return [value]
    items = cast("list[object]", value) if isinstance(value, list) else []
    if items and isinstance(items[0], int):
        return [" ".join(str(item) for item in items)]
    return [one if isinstance(one, str) else " ".join(map(str, cast("list[object]", one))) for one in items]
