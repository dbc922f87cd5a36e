"""The top-level fields that each API knows, and checks that the wires share."""

from __future__ import annotations

import re

from ..asked import mapping, objects
from ..errors import Problem
from ..plans import Json


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CHAT = _names(
    "messages model audio frequency_penalty function_call functions logit_bias logprobs max_completion_tokens "
    "max_tokens metadata modalities moderation n parallel_tool_calls prediction presence_penalty prompt_cache_key "
    "prompt_cache_options prompt_cache_retention reasoning_effort response_format safety_identifier seed "
    "service_tier stop store stream stream_options temperature tool_choice tools top_logprobs top_p user "
    "verbosity web_search_options"
)
RESPONSES = _names(
    "access_programs background background_options context_management conversation image include input "
    "instructions max_output_tokens max_tool_calls metadata model moderation parallel_tool_calls "
    "previous_response_id prompt prompt_cache_key prompt_cache_options prompt_cache_retention reasoning "
    "safety_identifier service_tier store stream stream_options temperature text tool_choice tools top_logprobs "
    "top_p truncation user"
)
MESSAGES = _names(
    "max_tokens messages model cache_control container diagnostics inference_geo metadata output_config "
    "service_tier speed stop_sequences stream system temperature thinking tool_choice tools top_k top_p "
    "user_profile_id workspace_id"
)
COUNT_TOKENS = _names(
    "messages model cache_control output_config speed system thinking tool_choice tools user_profile_id workspace_id"
)
COMPLETIONS = _names(
    "model prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop "
    "stream stream_options suffix temperature top_p user"
)
EMBEDDINGS = _names("input model dimensions encoding_format user")
RERANK = _names("model query documents top_n return_documents max_tokens_per_doc max_chunks_per_doc priority")

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def unknown(body: Json, known: frozenset[str]) -> str | None:
    """Give the first field that an API does not know."""
    return next((name for name in body if name not in known), None)


def missing(body: Json, *names: str) -> str | None:
    """Give the first field that is not there."""
    return next((name for name in names if body.get(name) is None), None)


def openai_fields(body: Json, known: frozenset[str], *required: str, strict: bool) -> Problem | None:
    """Check fields as OpenAI does."""
    if (name := missing(body, *required)) is not None:
        return Problem(400, f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
    if strict and (name := unknown(body, known)) is not None:
        return Problem(400, f"Unknown parameter: '{name}'.", code="unknown_parameter", param=name)
    return None


def open_object(schema: Json, *, all_required: bool = True) -> str | None:
    """Say why a strict schema is refused: an object that is not closed, or a property that is not required."""
    properties = mapping(schema.get("properties"))
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false"
        left = [name for name in properties if name not in schema.get("required", [])]
        if left and all_required:
            return f"'required' must include every key in properties. Missing '{left[0]}'"
    inner = [*map(mapping, properties.values()), mapping(schema.get("items")), *objects(schema.get("anyOf"))]
    inner += [*map(mapping, mapping(schema.get("$defs")).values())]
    return next((found for one in inner if one and (found := open_object(one, all_required=all_required))), None)


def bad_tool_name(name: object, longest: int = 64) -> bool:
    """Whether a tool cannot be called so."""
    return not isinstance(name, str) or len(name) > longest or _TOOL_NAME.fullmatch(name) is None
