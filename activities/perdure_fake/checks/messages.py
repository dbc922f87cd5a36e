"""Checks of Messages."""

from __future__ import annotations

import hashlib
import json

from ..answers import opens
from ..asked import mapping, objects
from ..errors import Problem
from ..plans import Json
from .fields import COUNT_TOKENS, MESSAGES, bad_tool_name, missing, open_object, unknown

_PREFILLS = ("claude-haiku-4-5", "claude-opus-4-5", "claude-sonnet-4-5", "simulated")


def digest(content: object) -> str:
    """Give what the content of a message is known again by."""
    return hashlib.sha256(json.dumps(_bare(content), sort_keys=True).encode()).hexdigest()


def _bare(content: object) -> object:
    """Leave out what clients add or drop when they send a block back."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    kept = {"type", "text", "thinking", "signature", "data", "id", "name", "input"}
    return [{key: value for key, value in block.items() if key in kept} for block in objects(content)]


def counting_problem(body: Json, headers: dict[str, str], *, strict: bool) -> Problem | None:
    """Give the first thing that is wrong with a request to count tokens."""
    return _fields(body, headers, ("model", "messages"), COUNT_TOKENS if strict else None)


def problem_of(body: Json, headers: dict[str, str], paused: set[str], *, strict: bool) -> Problem | None:
    """Give the first thing that is wrong."""
    found = _fields(body, headers, ("model", "max_tokens", "messages"), MESSAGES if strict else None)
    if found is not None:
        return found
    if not isinstance(body["max_tokens"], int) or body["max_tokens"] < 1:
        return _bad("max_tokens: Input should be greater than or equal to 1")
    messages = objects(body["messages"])
    if not messages:
        return _bad("messages: at least one message is required")
    if not strict:
        return None
    return (
        _tools(body) or _thinking(body) or _caching(body) or _blocks(body) or _order(body, paused) or _pairs(messages)
    )


def _bad(message: str) -> Problem:
    return Problem(400, message)


def _fields(
    body: Json, headers: dict[str, str], required: tuple[str, ...], known: frozenset[str] | None
) -> Problem | None:
    if "anthropic-version" not in headers:
        return _bad("anthropic-version: header is required")
    if (name := missing(body, *required)) is not None:
        return _bad(f"{name}: Field required")
    if known is not None and (name := unknown(body, known)) is not None:
        return _bad(f"{name}: Extra inputs are not permitted")
    return None


def _tools(body: Json) -> Problem | None:
    names: list[str] = []
    for index, tool in enumerate(objects(body.get("tools"))):
        if bad_tool_name(tool.get("name"), 128):
            return _bad(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if mapping(tool.get("input_schema")).get("type") != "object":
            return _bad(f"tools.{index}.custom.input_schema.type: Input should be 'object'")
        if tool.get("strict") is True and (why := _open(mapping(tool["input_schema"]))) is not None:
            return _bad(f"tools.{index}.custom: {why}")
        names.append(str(tool["name"]))
    if len(set(names)) < len(names):
        return _bad("tools: Tool names must be unique.")
    choice = mapping(body.get("tool_choice"))
    if choice and not names:
        return _bad("tool_choice: `tool_choice` may only be specified while providing `tools`.")
    if choice.get("type") == "tool" and choice.get("name") not in names:
        return _bad(f"tool_choice: Tool '{choice.get('name')}' not found in provided tools")
    wanted = mapping(mapping(body.get("output_config")).get("format"))
    if wanted and (why := _open(mapping(wanted.get("schema")))) is not None:
        return _bad(f"output_config.format.schema: {why}")
    return None


def _open(schema: Json) -> str | None:
    found = open_object(schema, all_required=False)
    return "For 'object' type, 'additionalProperties' must be explicitly set to false" if found else None


def _thinking(body: Json) -> Problem | None:
    thinking = mapping(body.get("thinking"))
    if thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < 1024:
        return _bad("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget >= body["max_tokens"]:
        return _bad("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if mapping(body.get("tool_choice")).get("type") in {"any", "tool"}:
        return _bad("Thinking may not be enabled when tool_choice forces tool use.")
    spoken = [message for message in objects(body["messages"]) if message.get("role") == "assistant"]
    blocks = objects(spoken[-1].get("content")) if spoken else []
    if any(block.get("type") == "tool_use" for block in blocks) and "thinking" not in str(blocks[0].get("type")):
        return _bad(
            "messages: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a "
            "final `assistant` message must start with a thinking block."
        )
    return None


def _caching(body: Json) -> Problem | None:
    holders = [*objects(body.get("system")), *objects(body.get("tools"))]
    for message in objects(body["messages"]):
        holders += objects(message.get("content"))
    found = sum(bool(holder.get("cache_control")) for holder in [*holders, body])
    if found > 4:
        return _bad(f"A maximum of 4 blocks with cache_control may be provided. Found {found}.")
    return None


def _blocks(body: Json) -> Problem | None:
    if any(block.get("type") == "text" and not block.get("text") for block in objects(body.get("system"))):
        return _bad("system: text content blocks must be non-empty")
    for index, message in enumerate(objects(body["messages"])):
        content = message.get("content")
        if not content:
            return _bad(f"messages.{index}: all messages must have non-empty content")
        for place, block in enumerate(objects(content)):
            if (why := _block_problem(block)) is not None:
                return _bad(f"messages.{index}.content.{place}{why}")
    return None


def _block_problem(block: Json) -> str | None:
    match block.get("type"):
        case "text" if not str(block.get("text") or "").strip():
            return ": text content blocks must contain non-whitespace text"
        case "thinking" if not block.get("signature"):
            return ".thinking.signature: Field required"
        case "thinking" if not opens(block["signature"], str(block.get("thinking"))):
            return ": Invalid `signature` in `thinking` block"
        case "redacted_thinking" if not opens(block.get("data")):
            return ": Invalid `data` in `redacted_thinking` block"
        case "tool_use" if not isinstance(block.get("input"), dict):
            return ".tool_use.input: Input should be a valid dictionary"
        case _:
            return None


def _order(body: Json, paused: set[str]) -> Problem | None:
    messages = objects(body["messages"])
    for index, message in enumerate(messages):
        if message.get("role") not in {"user", "assistant", "system"}:
            return _bad(f"messages.{index}.role: Input should be 'user' or 'assistant'")
    if messages[0]["role"] != "user":
        return _bad('messages: first message must use the "user" role')
    last = messages[-1]
    if last["role"] != "assistant" or digest(last.get("content")) in paused:
        return None
    if not str(body["model"]).startswith(_PREFILLS):
        return _bad(
            "This model does not support assistant message prefill. The conversation must end with a user message."
        )
    text = last["content"] if isinstance(last["content"], str) else str(objects(last["content"])[-1].get("text", ""))
    return (
        _bad("messages: final assistant content cannot end with trailing whitespace") if text != text.rstrip() else None
    )


def _pairs(messages: list[Json]) -> Problem | None:
    waiting: list[str] = []
    seen: set[str] = set()
    for index, message in enumerate(messages):
        blocks = objects(message.get("content"))
        results = [str(block.get("tool_use_id")) for block in blocks if block.get("type") == "tool_result"]
        left = [one for one in waiting if one not in results]
        if left:
            return _bad(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(left)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
                "message."
            )
        stray = [one for one in results if one not in waiting]
        if stray or len(set(results)) < len(results):
            return _bad(
                f"messages.{index}.content: unexpected `tool_use_id` found in `tool_result` blocks: "
                f"{(stray or results)[0]}. Each `tool_result` block must have a corresponding `tool_use` block in the "
                "previous message."
            )
        if results and any(block.get("type") != "tool_result" for block in blocks[: len(results)]):
            return _bad(f"messages.{index}.content: `tool_result` blocks must come first in the message")
        waiting = [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]
        if len(set(waiting)) < len(waiting) or seen & set(waiting):
            return _bad(f"messages.{index}: `tool_use` ids must be unique")
        seen |= set(waiting)
    return (
        _bad(f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks")
        if waiting
        else None
    )
