"""Checks of Chat Completions."""

from __future__ import annotations

import json

from ..asked import mapping, objects
from ..errors import Problem
from ..plans import Json
from .fields import CHAT, bad_tool_name, open_object, openai_fields

_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}
_NEW = ("gpt-5", "gpt-6", "o1", "o3", "o4")


def problem_of(body: Json, *, strict: bool) -> Problem | None:
    """Give the first thing that is wrong."""
    found = openai_fields(body, CHAT, "model", "messages", strict=strict)
    if found is not None:
        return found
    if not objects(body["messages"]):
        return _bad("Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages")
    if not strict:
        return None
    return _parameters(body) or _tools(body) or _format(body) or _conversation(objects(body["messages"]))


def _bad(message: str, param: str | None, code: str | None = None) -> Problem:
    return Problem(400, message, code=code, param=param)


def _parameters(body: Json) -> Problem | None:
    if "stream_options" in body and body.get("stream") is not True:
        return _bad("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if body.get("max_tokens") is not None and str(body["model"]).startswith(_NEW):
        message = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return _bad(message, "max_tokens", "unsupported_parameter")
    if isinstance(body.get("stop"), list) and len(body["stop"]) > 4:
        return _bad("Invalid 'stop': array too long. Expected an array with maximum length 4.", "stop")
    if body.get("n") not in (None, 1):
        return _bad("The simulated model gives one choice: leave 'n' out.", "n")
    return None


def _tools(body: Json) -> Problem | None:
    functions = [mapping(tool.get("function")) for tool in objects(body.get("tools"))]
    for index, function in enumerate(functions):
        if bad_tool_name(function.get("name")):
            return _bad(
                f"Invalid 'tools[{index}].function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'.",
                f"tools[{index}].function.name",
                "invalid_value",
            )
        if function.get("strict") is True and (why := open_object(mapping(function.get("parameters")))) is not None:
            message = f"Invalid schema for function '{function['name']}': In context=(), {why}."
            return _bad(message, f"tools[{index}].function.parameters", "invalid_function_parameters")
    choice = body.get("tool_choice")
    if choice is not None and not functions:
        return _bad("'tool_choice' is only allowed when 'tools' are specified.", "tool_choice")
    if body.get("parallel_tool_calls") is not None and not functions:
        return _bad("'parallel_tool_calls' is only allowed when 'tools' are specified.", "parallel_tool_calls")
    name = mapping(mapping(choice).get("function")).get("name")
    if name is not None and name not in [function.get("name") for function in functions]:
        return _bad(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
    return None


def _format(body: Json) -> Problem | None:
    wanted = mapping(body.get("response_format"))
    if wanted.get("type") == "json_object" and "json" not in json.dumps(body["messages"]).lower():
        message = (
            "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
        )
        return _bad(message, "messages")
    if wanted.get("type") != "json_schema":
        return None
    inner = mapping(wanted.get("json_schema"))
    if bad_tool_name(inner.get("name")):
        return _bad(
            "Missing required parameter: 'response_format.json_schema.name'.", "response_format.json_schema.name"
        )
    if inner.get("strict") is True and (why := open_object(mapping(inner.get("schema")))) is not None:
        return _bad(f"Invalid schema for response_format '{inner['name']}': In context=(), {why}.", "response_format")
    return None


def _conversation(messages: list[Json]) -> Problem | None:
    waiting: list[str] = []
    for index, message in enumerate(messages):
        role = message.get("role")
        if role not in _ROLES:
            return _bad(f"Invalid value: '{role}'. Supported values are: {sorted(_ROLES)}.", f"messages[{index}].role")
        if role == "tool":
            if message.get("tool_call_id") not in waiting:
                text = "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'."
                return _bad(f"Invalid parameter: {text}", f"messages.[{index}].role")
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            return _unanswered(waiting, index)
        if message.get("content") is None and not (role == "assistant" and _speaks(message)):
            text = "Invalid value for 'content': expected a string, got null."
            return _bad(text, f"messages.[{index}].content")
        if role == "assistant":
            waiting = [str(call.get("id")) for call in objects(message.get("tool_calls"))]
            if len(set(waiting)) < len(waiting):
                return _bad("Duplicate tool call ids.", f"messages.[{index}].tool_calls")
    return _unanswered(waiting, len(messages)) if waiting else None


def _speaks(message: Json) -> bool:
    return bool(message.get("tool_calls") or message.get("refusal") or message.get("audio"))


def _unanswered(waiting: list[str], index: int) -> Problem:
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
        f"The following tool_call_ids did not have response messages: {', '.join(waiting)}"
    )
    return _bad(message, f"messages.[{index}].role")
