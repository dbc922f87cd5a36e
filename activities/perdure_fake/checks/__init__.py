"""What the real APIs refuse: required fields always, unknown fields and broken conversations in strict mode."""

from __future__ import annotations

from ..errors import Problem
from ..plans import Json
from ..script import Wire
from . import chat, messages, plain, responses


def problem_of(wire: Wire, body: Json, headers: dict[str, str], paused: set[str], *, strict: bool) -> Problem | None:
    """Give the first thing that is wrong with a request.

    paused: `digest` of the contents that were sent with `pause_turn`, which alone may end a conversation.
    """
    match wire:
        case "openai-chat":
            return chat.problem_of(body, strict=strict)
        case "openai-responses":
            return responses.problem_of(body, strict=strict)
        case "anthropic-messages":
            return messages.problem_of(body, headers, paused, strict=strict)
        case "count-tokens":
            return messages.counting_problem(body, headers, strict=strict)
        case "openai-completions" | "openai-embeddings" | "rerank":
            return plain.problem_of(wire, body, strict=strict)
        case "models":
            return None
