"""Which JSON is a tool call: the keys that models write one with, and the names that mean the final answer."""

from __future__ import annotations

import json

from pydantic import JsonValue

from .units import Action, Answer, ToolInput

_NAME_KEYS = ("action", "actionname", "tool", "toolname", "name", "function", "functionname")
_UNANNOUNCED_NAME_KEYS = ("action", "actionname")
_INPUT_KEYS = ("actioninput", "input", "toolinput", "parameters", "params", "arguments", "args")
_FINAL = frozenset({"finalanswer", "最终答案", "最终回答"})
_NO_ACTION = frozenset({"", "none", "n/a", "无"})
_QUOTES = " \t`*\"'“”‘’「」"


def calls_in(value: JsonValue, *, announced: bool) -> list[Action | Answer] | None:
    """Read a value, or each of a list, as a call; None where it is data.

    announced: whether a label says that a call follows; then more keys will do, and the input may be missing.
    """
    if not isinstance(value, list):
        call = _call(value, announced=announced)
        return None if call is None else [call]
    calls = [_call(each, announced=announced) for each in value]
    whole = [call for call in calls if call is not None]
    return whole if whole and len(whole) == len(calls) else None


def name_in(line: str) -> str:
    """Read the name of a tool from the rest of a line; empty where that says that there is none."""
    name = line.strip().strip(_QUOTES)
    return "" if name.rstrip(".。").lower() in _NO_ACTION else name


def is_final(name: str) -> bool:
    """Say whether a name means the final answer."""
    return _plain(name) in _FINAL


def as_input(value: JsonValue) -> ToolInput:
    """Make an input of a value: what is neither object, list nor text becomes its text in JSON."""
    match value:
        case None:
            return {}
        case dict() | list() | str():
            return value
        case _:
            return json.dumps(value)


def _call(value: JsonValue, *, announced: bool) -> Action | Answer | None:
    if not isinstance(value, dict):
        return None
    fields: dict[str, JsonValue] = {}
    for key, inner in value.items():
        fields.setdefault(_plain(key), inner)
    names = _NAME_KEYS if announced else _UNANNOUNCED_NAME_KEYS
    name = next((fields[key] for key in names if key in fields), None)
    given = next((fields[key] for key in _INPUT_KEYS if fields.get(key) is not None), None)
    if not isinstance(name, str) or not name.strip() or (given is None and not announced):
        return None
    return Answer(text=_as_answer(given)) if is_final(name) else Action(name=name.strip(), input=as_input(given))


def _as_answer(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case dict() | list():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if not char.isspace() and char not in "_-")
