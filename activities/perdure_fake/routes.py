"""Which endpoint a request is for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

from .asked import Asked
from .errors import Problem
from .http import Request
from .plans import Json
from .script import Wire, key_hash
from .wires import listing, vectors

_POSTS: dict[str, Wire] = {
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
    "/v1/completions": "openai-completions",
    "/v1/embeddings": "openai-embeddings",
    "/v1/rerank": "rerank",
    "/v2/rerank": "rerank",
    "/v1/messages": "anthropic-messages",
    "/v1/messages/count_tokens": "count-tokens",
}


@dataclass(frozen=True, slots=True)
class Route:
    """An endpoint. `model` is that of the path, where one is looked up."""

    wire: Wire
    anthropic: bool
    model: str = ""

    def body(self, asked: Asked, known: tuple[str, ...] | None) -> Json:
        """Give the answer of an endpoint that generates no text."""
        match self.wire:
            case "openai-embeddings":
                return vectors.embeddings(asked)
            case "rerank":
                return vectors.rerank(asked)
            case "count-tokens":
                return listing.counted(asked)
            case _:
                names = listing.DEFAULT if known is None else known
                if self.anthropic:
                    return listing.anthropic_model(self.model) if self.model else listing.anthropic_models(names)
                return listing.openai_model(self.model) if self.model else listing.openai_models(names)


def route_of(request: Request) -> Route | None:
    """Find the endpoint of a request."""
    if request.method == "POST" and request.path in _POSTS:
        wire = _POSTS[request.path]
        return Route(wire, wire in {"anthropic-messages", "count-tokens"})
    if request.method == "GET" and (request.path == "/v1/models" or request.path.startswith("/v1/models/")):
        name = request.path.removeprefix("/v1/models").strip("/")
        return Route("models", "anthropic-version" in request.headers, name)
    return None


def body_of(request: Request) -> Json | Problem:
    """Read the body of a request; what is no JSON object is a problem."""
    if request.method == "GET":
        return {}
    try:
        body: Any = json.loads(request.body or b"{}")
    except ValueError:
        return Problem(400, "We could not parse the JSON body of your request.")
    if isinstance(body, dict):
        return cast(Json, body)
    return Problem(400, "The body of a request must be a JSON object.")


def api_key(request: Request) -> str:
    """Give the API key of a request, from either header."""
    bearer = request.headers.get("authorization", "")
    return request.headers.get("x-api-key", "") or (bearer[7:].strip() if bearer[:7].lower() == "bearer " else "")


def key_name(key: str) -> str:
    """Give what the journal calls a key."""
    return key_hash(key) if key else ""
