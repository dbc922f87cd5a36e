"""The answer to a request that no step is for: it says that it is simulated, and has the form that was asked for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

from .asked import Asked, Tool, mapping, objects
from .instances import best, instance, words
from .plans import Json
from .script import Call, Reply

_ID_KEYS = ("category_id", "class_id", "id")
_NAME_KEYS = ("category_name", "class_name", "name", "label")
_TEXT_KEYS = ("input_text", "text", "query", "input")
_LABELLED = re.compile(r"(?im)^\W*(?:(?:user )?(?:input|text|query|question)|user)\W*:\s*")
_JSON_NEXT = re.compile(r"(?i)\s*\n\W*json\W*\Z")


def invent(asked: Asked) -> Reply:
    """Make an answer up: by the schema, the forced tool, the form that the prompt describes, or an echo."""
    thinking = "[simulated] There is nothing to think about." if asked.thinks else ""
    if asked.schema is not None:
        return Reply(text=_json(instance(asked.schema, _subject(asked))), thinking=thinking)
    if (tool := _tool_to_call(asked)) is not None:
        return Reply(tool_calls=(Call(name=tool.name, arguments=_arguments(tool, asked)),), thinking=thinking)
    if asked.json_mode or "json" in f"{asked.system} {asked.user}".lower():
        described = _described(asked)
        if described is not None or asked.json_mode:
            answer = described if described is not None else {"answer": _echo(asked)}
            return Reply(text=_json(answer), thinking=thinking)
    return Reply(text=_echo(asked), thinking=thinking)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _echo(asked: Asked) -> str:
    if asked.tool_results:
        said = "; ".join(result.strip()[:500] for result in asked.tool_results)
        return f"[simulated] No model was asked. The tools said: {said}"
    return f"[simulated] No model was asked. You said: {asked.user.strip()[:1000]}"


def _tool_to_call(asked: Asked) -> Tool | None:
    """Choose the tool that must be called, or that the prompt names; none once it has answered."""
    if not asked.tools or asked.choice == "none":
        return None
    names = [tool.name for tool in asked.tools]
    if asked.choice == "required":
        wanted = [tool for tool in asked.tools if tool.name == asked.forced]
        return wanted[0] if wanted else asked.tools[best(names, asked.user)]
    if asked.tool_results:
        return None
    spoken = f"{asked.system}\n{asked.user}"
    for tool in asked.tools:
        if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", spoken):
            return tool
    said = {word for word in words(asked.user) if len(word) > 3}
    return next((tool for tool in asked.tools if said & set(words(tool.name))), None)


def _arguments(tool: Tool, asked: Asked) -> Json:
    return mapping(instance({"type": "object", **tool.schema}, _subject(asked)))


def _described(asked: Asked) -> Any:
    """Give the object that a prompt describes: a class of a list of them, or an instance of a schema."""
    found = [*_values(asked.user), *_values(asked.system)]
    for value in found:
        for classes in _class_lists(value):
            return _classified(classes, _subject(asked, value))
    for value in found:
        for schema in _schemas(value):
            return instance(schema, _subject(asked, value))
    return None


def _classified(classes: list[Json], text: str) -> Json:
    id_key = next(key for key in _ID_KEYS if key in classes[0])
    name_key = next(key for key in _NAME_KEYS if key in classes[0])
    chosen = classes[best([str(one.get(name_key, "")) for one in classes], text)]
    return {"category_id": chosen[id_key], "category_name": chosen.get(name_key, "")} | {id_key: chosen[id_key]}


def _values(text: str) -> Iterator[Any]:
    """Find the JSON objects and lists that a text holds, outermost only."""
    decoder, place = json.JSONDecoder(), 0
    while (start := min((at for at in (text.find("{", place), text.find("[", place)) if at >= 0), default=-1)) >= 0:
        try:
            value, place = decoder.raw_decode(text, start)
            yield value
        except ValueError:
            place = start + 1


def _class_lists(value: Any) -> Iterator[list[Json]]:
    for one in _with_inner(value):
        found = objects(one)
        if found and any(key in found[0] for key in _ID_KEYS) and any(key in found[0] for key in _NAME_KEYS):
            yield found


def _schemas(value: Any) -> Iterator[Json]:
    for one in _with_inner(value):
        schema = mapping(one)
        if isinstance(schema.get("properties"), dict):
            yield schema


def _with_inner(value: object) -> list[object]:
    return [value, *mapping(value).values()]


def _subject(asked: Asked, near: Any = None) -> str:
    """Give the text that the request is about: a field of the JSON in the prompt, else the user's words around it."""
    for value in [near, *_values(asked.user)]:
        for key in _TEXT_KEYS:
            given: object = mapping(value).get(key)
            if isinstance(given, list):
                given = "\n".join(str(part) for part in cast("list[object]", given))
            if isinstance(given, str) and given.strip():
                return given
    text = asked.user
    for value in _spans(text):
        text = text.replace(value, " ")
    # What follows the last label is the text; a prompt that is meant to be continued ends with `JSON:`.
    labelled = _LABELLED.split(text)[-1]
    return _JSON_NEXT.sub("", labelled).strip() or asked.user


def _spans(text: str) -> list[str]:
    decoder, place, found = json.JSONDecoder(), 0, list[str]()
    while (start := min((at for at in (text.find("{", place), text.find("[", place)) if at >= 0), default=-1)) >= 0:
        try:
            _, place = decoder.raw_decode(text, start)
            found.append(text[start:place])
        except ValueError:
            place = start + 1
    return found
