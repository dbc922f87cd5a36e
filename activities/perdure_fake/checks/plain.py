"""Checks of the endpoints without a conversation."""

from __future__ import annotations

from ..errors import Problem
from ..plans import Json
from ..script import Wire
from .fields import COMPLETIONS, EMBEDDINGS, RERANK, openai_fields


def problem_of(wire: Wire, body: Json, *, strict: bool) -> Problem | None:
    """Give the first thing that is wrong."""
    if wire == "openai-completions":
        return openai_fields(body, COMPLETIONS, "model", "prompt", strict=strict)
    if wire == "rerank":
        found = openai_fields(body, RERANK, "model", "query", "documents", strict=strict)
        if found is None and (not isinstance(body["documents"], list) or not body["documents"]):
            return Problem(400, "documents must not be empty", param="documents")
        return found
    found = openai_fields(body, EMBEDDINGS, "model", "input", strict=strict)
    if found is None and body["input"] in ("", []):
        return Problem(400, "'$.input' is invalid: it must not be empty.", param="input")
    return found
