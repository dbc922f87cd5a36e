"""Make the body of a Messages request of a call. Pure.

The API is strict about the shape of a conversation: it begins with the user, roles alternate, each call of a tool is
followed by its result, nothing is empty. A conversation that was cut by a memory window, or begun with another
provider, is put into that shape here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import JsonValue

from .anthropic_turns import conversation
from .protocol import Endpoint, ModelCall
from .schemas import closed_schema, is_closed, plain_schema
from .structured import answer_tool, instruct

DEFAULT_MAX_TOKENS = 4096

_CACHED: Mapping[str, Any] = {"type": "ephemeral"}
_SAMPLING = ("temperature", "top_p", "top_k")
_EFFORTS = frozenset({"low", "medium", "high", "xhigh", "max"})
_THINKING = frozenset({"adaptive", "between_tools", "disabled", "enabled"})
_LEAST_BUDGET = 1024
_MOST_USER_CHARS = 256

Body = dict[str, Any]


def request_of(endpoint: Endpoint, call: ModelCall) -> Body:
    """Give the arguments of `messages.create`, without `stream`.

    Raises:
        ModelFault: a file cannot be sent, or there is nothing to say.
    """
    thinking = _thinking(call)
    forced = "tool-choice" in call.features and (thinking is None or thinking["type"] == "disabled")
    format_, messages = None, call.messages
    if call.answer is not None and call.answer_by == "native":
        if is_closed(call.answer.schema_):
            format_ = {"type": "json_schema", "schema": closed_schema(call.answer.schema_)}
        else:
            messages = instruct(messages, call.answer.schema_)
    elif call.answer is not None and call.answer_by == "tool" and not forced:
        messages = instruct(messages, call.answer.schema_)
    system, turns = conversation(messages, endpoint.provider, call.features, call.files)
    tools = _tools(call, turns)
    body: Body = {
        "model": call.model,
        "max_tokens": _max_tokens(call, thinking),
        "messages": turns,
        "system": system,
        "tools": tools,
        "tool_choice": _tool_choice(call, tools, forced=forced),
        "stop_sequences": [word for word in call.stop if word.strip()],
        "thinking": thinking,
        "output_config": {name: value for name, value in (("effort", _effort(call)), ("format", format_)) if value},
        "metadata": {"user_id": call.user[:_MOST_USER_CHARS]} if call.user else None,
        "service_tier": call.parameters.get("service_tier"),
        "extra_body": _sampling(call, thinking),
    }
    if "prompt-cache" in call.features:
        for blocks in (system, tools):
            if blocks:
                blocks[-1] = {**blocks[-1], "cache_control": dict(_CACHED)}
    return {name: value for name, value in body.items() if value not in (None, [], {})}


def _max_tokens(call: ModelCall, thinking: Mapping[str, Any] | None) -> int:
    if call.max_tokens is not None:
        return call.max_tokens
    # Thinking counts, and the answer comes after it.
    budget = thinking.get("budget_tokens", 0) if thinking else 0
    return DEFAULT_MAX_TOKENS + budget


def _thinking(call: ModelCall) -> dict[str, Any] | None:
    """Read `thinking`: an object as the API has it, its type alone, or on and off as Dify has it."""
    asked, budget = call.parameters.get("thinking"), call.parameters.get("thinking_budget")
    if isinstance(asked, str):
        asked = _json_object(asked) or {"on": True, "true": True, "off": False, "false": False}.get(
            asked.lower(), {"type": asked.lower()}
        )
    if asked is None or (isinstance(asked, dict) and asked.get("type") not in _THINKING):
        return None
    if asked is False:
        return {"type": "disabled"} if {"thinking", "adaptive-thinking"} & call.features else None
    config: dict[str, Any]
    if isinstance(asked, dict):
        config = dict(asked)
    else:
        adaptive = "adaptive-thinking" in call.features and (budget is None or "thinking" not in call.features)
        config = {"type": "adaptive" if adaptive else "enabled"}
    if config["type"] == "enabled":
        config.setdefault("budget_tokens", budget if isinstance(budget, int) else _LEAST_BUDGET)
    return config


def _json_object(text: str) -> dict[str, JsonValue] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, JsonValue]", value) if isinstance(value, dict) else None


def _effort(call: ModelCall) -> str | None:
    asked = call.parameters.get("effort", call.parameters.get("reasoning_effort"))
    if "reasoning-effort" not in call.features or not isinstance(asked, str):
        return None
    # What OpenAI calls its smallest.
    asked = "low" if asked in {"minimal", "none"} else asked
    return asked if asked in _EFFORTS else None


def _sampling(call: ModelCall, thinking: Mapping[str, Any] | None) -> dict[str, JsonValue]:
    # The SDK has no arguments for these any more; while a model thinks it takes none of them.
    if "sampling-params" not in call.features or (thinking is not None and thinking["type"] != "disabled"):
        return {}
    given = {name: call.parameters.get(name) for name in _SAMPLING}
    return {name: value for name, value in given.items() if value is not None}


def _tools(call: ModelCall, turns: list[Body]) -> list[Body]:
    specs = [*call.tools]
    if call.answer is not None and call.answer_by == "tool":
        specs.append(answer_tool(call.answer))
    tools: list[Body] = []
    for spec in specs:
        strict = spec.strict and "strict-tools" in call.features and is_closed(spec.parameters)
        schema = closed_schema(spec.parameters) if strict else plain_schema(spec.parameters)
        tool: Body = {"name": spec.name, "input_schema": {**schema, "type": "object"}}
        if spec.description:
            tool["description"] = spec.description
        if strict:
            tool["strict"] = True
        tools.append(tool)
    if not tools:
        # A conversation with calls in it is refused where the tools that were called are unknown.
        tools = [{"name": name, "input_schema": {"type": "object"}} for name in _called(turns)]
    return tools


def _called(turns: list[Body]) -> list[str]:
    blocks = [block for turn in turns for block in turn["content"]]
    return list(dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use"))


def _tool_choice(call: ModelCall, tools: list[Body], *, forced: bool) -> Body | None:
    if not tools:
        return None
    if call.answer is not None and call.answer_by == "tool":
        if not forced:
            return {"type": "auto"}
        return {"type": "any"} if call.tools else {"type": "tool", "name": answer_tool(call.answer).name}
    if not call.tools or call.tool_choice == "none":
        return {"type": "none"}
    # A model that cannot be forced decides for itself.
    one = "multi-tool-call" not in call.features
    choice: Body = {"type": "any" if call.tool_choice == "required" and forced else "auto"}
    return {**choice, "disable_parallel_tool_use": True} if one else choice
