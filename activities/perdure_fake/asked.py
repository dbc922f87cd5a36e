"""A request, read: what the steps match on and the answers are made of, the same for every wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from .plans import Json
from .script import Wire


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool on offer."""

    name: str
    description: str
    schema: Json


@dataclass(frozen=True, slots=True)
class Asked:
    """One request to a provider.

    user: the last user message; `tool_results` are those that came after it, if nothing else did.
    texts: all text of the prompt. answers: what models said in it before; one may be several messages.
    forced: the tool that must be called; `choice` is `required` where it may be any.
    schema: of the object asked for, where the wire has a field for that.
    key: `key_hash` of the API key.
    nth: how often this very request came before, plus 1.
    """

    wire: Wire
    path: str
    body: Json
    model: str
    key: str
    base: str
    stream: bool = False
    system: str = ""
    user: str = ""
    tool_results: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    messages: int = 0
    answers: int = 0
    images: int = 0
    tools: tuple[Tool, ...] = ()
    choice: Literal["auto", "none", "required"] = "auto"
    forced: str | None = None
    schema: Json | None = None
    json_mode: bool = False
    thinks: bool = False
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    nth: int = 1
    digest: str = ""


@dataclass(slots=True)
class _Prompt:
    system: list[str] = field(default_factory=list[str])
    user: str = ""
    results: list[str] = field(default_factory=list[str])
    texts: list[str] = field(default_factory=list[str])
    messages: int = 0
    answers: int = 0
    images: int = 0
    answering: bool = False

    def add(self, role: str, text: str, images: int = 0) -> None:
        self.messages += 1
        self.answers += role == "assistant" and not self.answering
        self.answering = role == "assistant"
        self.images += images
        self.texts.append(text)
        if role in {"system", "developer"}:
            self.system.append(text)
        elif role == "user":
            self.user, self.results = text, []
        elif role == "tool":
            self.results.append(text)
        else:
            self.results = []


def objects(value: object) -> list[Json]:
    """Give the objects of a list; what is no list has none."""
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast(Json, item) for item in items if isinstance(item, dict)]


def mapping(value: object) -> Json:
    """Give an object; what is none is empty."""
    return cast(Json, value) if isinstance(value, dict) else {}


def read(wire: Wire, path: str, body: Json, **rest: Any) -> Asked:
    """Read a request."""
    match wire:
        case "anthropic-messages" | "count-tokens":
            found = _messages(body)
        case "openai-responses":
            found = _responses(body)
        case "openai-chat":
            found = _chat(body)
        case "openai-completions":
            found = _completions(body)
        case "openai-embeddings" | "rerank" | "models":
            found = _texts(body)
    stream = body.get("stream") is True
    return Asked(wire=wire, path=path, body=body, model=str(body.get("model", "")), stream=stream, **found, **rest)


def _known(prompt: _Prompt, tools: list[Tool], **rest: Any) -> dict[str, Any]:
    texts = [*prompt.texts, *(f"{tool.name} {tool.description} {json.dumps(tool.schema)}" for tool in tools)]
    return {
        "system": "\n".join(prompt.system),
        "user": prompt.user,
        "tool_results": tuple(prompt.results),
        "texts": tuple(texts),
        "messages": prompt.messages,
        "answers": prompt.answers,
        "images": prompt.images,
        "tools": tuple(tools),
        **rest,
    }


def _content(value: object) -> tuple[str, int]:
    """Give the text of a message's content, and how many images it has."""
    if isinstance(value, str):
        return value, 0
    parts = objects(value)
    texts = [str(part["text"]) for part in parts if isinstance(part.get("text"), str)]
    return "\n".join(texts), sum("image" in str(part.get("type")) for part in parts)


def _strings(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in cast("list[object]", value)) if isinstance(value, list) else ()


def _chat(body: Json) -> dict[str, Any]:
    prompt = _Prompt()
    for message in objects(body.get("messages")):
        text, images = _content(message.get("content"))
        calls = [mapping(call.get("function")) for call in objects(message.get("tool_calls"))]
        spoken = " ".join([text, *(f"{call.get('name')} {call.get('arguments')}" for call in calls)])
        prompt.add(str(message.get("role")), spoken.strip(), images)
    functions = [mapping(tool.get("function")) for tool in objects(body.get("tools"))]
    wanted = mapping(body.get("response_format"))
    schema = mapping(wanted.get("json_schema")).get("schema")
    return _known(
        prompt,
        [_tool(function, "parameters") for function in functions],
        **_choice(body.get("tool_choice")),
        schema=mapping(schema) if schema else None,
        json_mode=wanted.get("type") == "json_object",
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        stop=_strings(body.get("stop")),
    )


def _responses(body: Json) -> dict[str, Any]:
    prompt = _Prompt()
    if isinstance(body.get("instructions"), str):
        prompt.add("system", body["instructions"])
    given = body.get("input")
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else objects(given):
        match item.get("type", "message"):
            case "message":
                prompt.add(str(item.get("role")), *_content(item.get("content")))
            case "function_call_output":
                prompt.add("tool", _content(item.get("output"))[0])
            case "function_call":
                prompt.add("assistant", f"{item.get('name')} {item.get('arguments')}")
            case _:
                pass
    wanted = mapping(mapping(body.get("text")).get("format"))
    schema = wanted.get("schema")
    return _known(
        prompt,
        [_tool(tool, "parameters") for tool in objects(body.get("tools")) if tool.get("type") == "function"],
        **_choice(body.get("tool_choice")),
        schema=mapping(schema) if schema else None,
        json_mode=wanted.get("type") == "json_object",
        thinks="reasoning.encrypted_content" in _strings(body.get("include")),
        max_tokens=body.get("max_output_tokens"),
    )


def _messages(body: Json) -> dict[str, Any]:
    prompt = _Prompt()
    if body.get("system"):
        prompt.add("system", _content(body["system"])[0])
    for message in objects(body.get("messages")):
        for role, text, images in _spoken(message):
            prompt.add(role, text, images)
    wanted = mapping(mapping(body.get("output_config")).get("format"))
    schema = wanted.get("schema")
    return _known(
        prompt,
        [_tool(tool, "input_schema") for tool in objects(body.get("tools"))],
        **_choice(body.get("tool_choice")),
        schema=mapping(schema) if schema else None,
        thinks=mapping(body.get("thinking")).get("type") in {"enabled", "adaptive"},
        max_tokens=body.get("max_tokens"),
        stop=_strings(body.get("stop_sequences")),
    )


def _spoken(message: Json) -> Iterator[tuple[str, str, int]]:
    role, content = str(message.get("role")), message.get("content")
    results = [part for part in objects(content) if part.get("type") == "tool_result"]
    for part in results:
        yield "tool", _content(part.get("content"))[0], 0
    calls = [part for part in objects(content) if part.get("type") == "tool_use"]
    text, images = _content(content)
    said = " ".join([text, *(f"{call.get('name')} {json.dumps(call.get('input'))}" for call in calls)]).strip()
    if said or images or not results:
        yield role, said, images


def _completions(body: Json) -> dict[str, Any]:
    prompt = _Prompt()
    prompt.add("user", "\n".join(_strings(body.get("prompt"))))
    return _known(prompt, [], max_tokens=body.get("max_tokens"), stop=_strings(body.get("stop")))


def _texts(body: Json) -> dict[str, Any]:
    given = [*_strings(body.get("input")), *_strings(body.get("query")), *_strings(body.get("documents"))]
    return {"texts": tuple(given), "user": given[0] if given else ""}


def _tool(tool: Json, schema: str) -> Tool:
    return Tool(str(tool.get("name", "")), str(tool.get("description") or ""), mapping(tool.get(schema)))


def _choice(value: object) -> dict[str, Any]:
    chosen = mapping(value)
    name = chosen.get("name") or mapping(chosen.get("function")).get("name")
    word = value if isinstance(value, str) else chosen.get("type")
    if name:
        return {"choice": "required", "forced": str(name)}
    return {"choice": {"any": "required", "required": "required", "none": "none"}.get(str(word), "auto")}
