"""Checks of Responses."""

from __future__ import annotations

from ..answers import opens
from ..asked import mapping, objects
from ..errors import Problem
from ..plans import Json
from .fields import RESPONSES, bad_tool_name, open_object, openai_fields

_ITEMS = {"message", "function_call", "function_call_output", "reasoning"}


def problem_of(body: Json, *, strict: bool) -> Problem | None:
    """Give the first thing that is wrong."""
    found = openai_fields(body, RESPONSES, "model", "input", strict=strict)
    if found is not None or not strict:
        return found
    limit = body.get("max_output_tokens")
    if isinstance(limit, int) and limit < 16:
        message = (
            "Invalid 'max_output_tokens': integer below minimum value. "
            f"Expected a value >= 16, but got {limit} instead."
        )
        return _bad(message, "max_output_tokens", "integer_below_min_value")
    if (past := body.get("previous_response_id")) is not None:
        message = f"Previous response with id '{past}' not found."
        return _bad(message, "previous_response_id", "previous_response_not_found")
    return _tools(body) or _items(body)


def _bad(message: str, param: str | None = "input", code: str | None = None) -> Problem:
    return Problem(400, message, code=code, param=param)


def _tools(body: Json) -> Problem | None:
    names: list[str] = []
    for index, tool in enumerate(objects(body.get("tools"))):
        if tool.get("type") != "function":
            return _bad(f"The simulated model has no tool of type '{tool.get('type')}'.", f"tools[{index}].type")
        if bad_tool_name(tool.get("name")):
            return _bad(f"Missing required parameter: 'tools[{index}].name'.", f"tools[{index}].name")
        names.append(str(tool["name"]))
        if tool.get("strict") is True and (why := open_object(mapping(tool.get("parameters")))) is not None:
            message = f"Invalid schema for function '{tool['name']}': In context=(), {why}."
            return _bad(message, f"tools[{index}].parameters", "invalid_function_parameters")
    name = mapping(body.get("tool_choice")).get("name")
    if name is not None and name not in names:
        return _bad(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
    wanted = mapping(mapping(body.get("text")).get("format"))
    if wanted.get("type") == "json_schema":
        if bad_tool_name(wanted.get("name")):
            return _bad("Missing required parameter: 'text.format.name'.", "text.format.name")
        if wanted.get("strict") is True and (why := open_object(mapping(wanted.get("schema")))) is not None:
            return _bad(
                f"Invalid schema for response_format '{wanted['name']}': In context=(), {why}.", "text.format.schema"
            )
    return None


def _items(body: Json) -> Problem | None:
    items = objects(body["input"])
    if isinstance(body["input"], list) and not items:
        return _bad("Invalid 'input': empty array.")
    open_calls: list[str] = []
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        if kind not in _ITEMS:
            return _bad(f"Invalid value: '{kind}'. Supported values are: {sorted(_ITEMS)}.", f"input[{index}].type")
        if kind == "function_call":
            open_calls.append(str(item.get("call_id")))
        elif kind == "function_call_output":
            if item.get("call_id") not in open_calls:
                return _bad(f"No tool call found for function call output with call_id {item.get('call_id')}.")
            open_calls.remove(item["call_id"])
        elif kind == "reasoning" and (found := _reasoning(items, index)) is not None:
            return found
    if open_calls:
        return _bad(f"No tool output found for function call {open_calls[0]}.")
    return None


def _reasoning(items: list[Json], index: int) -> Problem | None:
    """Check a reasoning item: its encrypted form is what we hold of it, and what it led to must follow."""
    item = items[index]
    if not item.get("encrypted_content"):
        message = (
            f"Item with id '{item.get('id')}' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input."
        )
        return Problem(404, message, param="input")
    if not opens(item["encrypted_content"]):
        return _bad(
            f"The encrypted content for item {item.get('id')} could not be verified.", code="invalid_encrypted_content"
        )
    after = items[index + 1] if index + 1 < len(items) else {}
    if (
        after.get("type", "message") not in {"message", "function_call", "reasoning"}
        or after.get("role") == "user"
        or not after
    ):
        return _bad(f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item.")
    return None
