"""Models, as OpenAI and as Anthropic list them, and the counting of tokens."""

from __future__ import annotations

from ..asked import Asked
from ..counting import prompt_tokens
from ..plans import Json

DEFAULT = (
    "gpt-6-sol",
    "gpt-6-luna",
    "gpt-5.5",
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "simulated-chat",
    "simulated-embedding",
    "simulated-rerank",
)


def openai_model(name: str) -> Json:
    """Give one model as OpenAI shows it."""
    return {"id": name, "object": "model", "created": 1767225600, "owned_by": "perdure-fake"}


def anthropic_model(name: str) -> Json:
    """Give one model as Anthropic shows it."""
    return {
        "type": "model",
        "id": name,
        "display_name": f"{name} (simulated)",
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": None,
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": None,
    }


def openai_models(names: tuple[str, ...]) -> Json:
    """Give the list of OpenAI."""
    return {"object": "list", "data": [openai_model(name) for name in names]}


def anthropic_models(names: tuple[str, ...]) -> Json:
    """Give the one page of Anthropic."""
    data = [anthropic_model(name) for name in names]
    first, last = (names[0], names[-1]) if names else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def counted(asked: Asked) -> Json:
    """Give the tokens of a Messages request."""
    return {"input_tokens": prompt_tokens(asked.texts, asked.messages, asked.images)}
