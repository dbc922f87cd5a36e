"""OpenAI Responses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count as numbers

from ..answers import Answer, ToolUse, seal
from ..asked import Asked, mapping, objects
from ..counting import count
from ..plans import Event, Json, Kind

_INCOMPLETE = {"length": "max_output_tokens", "window": "max_output_tokens", "content_filter": "content_filter"}


def usage(answer: Answer) -> Json:
    """Give the usage of an answer."""
    return {
        "input_tokens": answer.prompt,
        "input_tokens_details": {"cached_tokens": answer.cache_read, "cache_write_tokens": answer.cache_write},
        "output_tokens": answer.completion,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning},
        "total_tokens": answer.prompt + answer.completion,
    }


def whole(asked: Asked, answer: Answer) -> Json:
    """Give the body of an answer."""
    return _response(asked, answer, _items(asked, answer))


def events(asked: Asked, answer: Answer) -> list[Event]:
    """Give the events of an answer."""
    number = numbers()
    started = {**_response(asked, answer, []), "status": "in_progress", "incomplete_details": None, "usage": None}
    started["completed_at"] = None
    made = [
        _event("response.created", "open", response=started),
        _event("response.in_progress", "open", response=started),
    ]
    for index, item in enumerate(_items(asked, answer)):
        match item["type"]:
            case "reasoning":
                made += _reasoning(answer, item, index)
            case "function_call":
                made += _call(answer, item, index)
            case _:
                made += _message(answer, item, index)
    end = "response.incomplete" if answer.finish in _INCOMPLETE else "response.completed"
    made.append(_event(end, "finish", response=whole(asked, answer)))
    for event in made:
        mapping(event.data)["sequence_number"] = next(number)
    return made


def _items(asked: Asked, answer: Answer) -> list[Json]:
    items: list[Json] = []
    if answer.thinking:
        summary = [{"type": "summary_text", "text": "".join(answer.thinking)}]
        sealed = seal("".join(answer.thinking), hidden=True) if asked.thinks else None
        items.append({"id": f"rs_{answer.id}", "type": "reasoning", "summary": summary, "encrypted_content": sealed})
    if answer.text or answer.refusal or not answer.tools:
        parts = [_part("".join(answer.refusal), refused=True)] if answer.refusal else []
        if answer.text or not parts:
            parts.insert(0, _part("".join(answer.text)))
        status = "incomplete" if answer.finish in _INCOMPLETE and not answer.tools else "completed"
        message = {"id": f"msg_{answer.id}", "type": "message", "role": "assistant"}
        items.append({**message, "status": status, "content": parts})
    for index, use in enumerate(answer.tools):
        cut = answer.finish in _INCOMPLETE and index == len(answer.tools) - 1
        items.append(_function_call(answer, use, index, "incomplete" if cut else "completed"))
    return items


def _response(asked: Asked, answer: Answer, output: list[Json]) -> Json:
    body, now = asked.body, time.time()
    reason = _INCOMPLETE.get(answer.finish)
    reasoning = mapping(body.get("reasoning"))
    tools = [{"strict": True, "description": None, **tool} for tool in objects(body.get("tools"))]
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": int(now),
        "status": "incomplete" if reason else "completed",
        "background": False,
        "completed_at": None if reason else int(now),
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": None,
        "model": asked.model,
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "safety_identifier": None,
        "service_tier": "default",
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}, **mapping(body.get("text"))},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": tools,
        "top_logprobs": 0,
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": usage(answer),
        "user": None,
        "metadata": mapping(body.get("metadata")),
    }


def _reasoning(answer: Answer, item: Json, index: int) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    text = "".join(answer.thinking)
    yield _event("response.output_item.added", "open", output_index=index, item={**item, "summary": []})
    yield _event("response.reasoning_summary_part.added", "open", **place, part={"type": "summary_text", "text": ""})
    for piece in answer.thinking:
        yield _delta("response.reasoning_summary_text.delta", piece, "", **place)
    yield _event("response.reasoning_summary_text.done", "close", **place, text=text)
    yield _event("response.reasoning_summary_part.done", "close", **place, part={"type": "summary_text", "text": text})
    yield _event("response.output_item.done", "close", output_index=index, item=item)


def _message(answer: Answer, item: Json, index: int) -> Iterator[Event]:
    opened: Json = {**item, "status": "in_progress", "content": []}
    yield _event("response.output_item.added", "open", output_index=index, item=opened)
    for number, part in enumerate(objects(item["content"])):
        place = {"item_id": item["id"], "output_index": index, "content_index": number}
        refused = part["type"] == "refusal"
        empty = _part("", refused=refused)
        yield _event("response.content_part.added", "open", **place, part=empty)
        extra: Json = {} if refused else {"logprobs": []}
        name = "response.refusal" if refused else "response.output_text"
        for piece in answer.refusal if refused else answer.text:
            yield _delta(f"{name}.delta", piece, piece, **place, **extra)
        said = {"refusal": part["refusal"]} if refused else {"text": part["text"]}
        yield _event(f"{name}.done", "close", **place, **said, **extra)
        yield _event("response.content_part.done", "close", **place, part=part)
    yield _event("response.output_item.done", "close", output_index=index, item=item)


def _call(answer: Answer, item: Json, index: int) -> Iterator[Event]:
    use = next(use for use in answer.tools if use.id == item["call_id"])
    place = {"item_id": item["id"], "output_index": index}
    opened = {**item, "status": "in_progress", "arguments": ""}
    yield _event("response.output_item.added", "open", output_index=index, item=opened)
    for number, piece in enumerate(use.pieces):
        delta = _delta("response.function_call_arguments.delta", piece, piece, **place)
        yield delta if number else Event(delta.data, delta.name, "content", piece, delta.tokens + count(use.name))
    yield _event("response.function_call_arguments.done", "close", **place, arguments=use.arguments)
    yield _event("response.output_item.done", "close", output_index=index, item=item)


def _function_call(answer: Answer, use: ToolUse, index: int, status: str) -> Json:
    return {
        "id": f"fc_{answer.id}{index:02d}",
        "type": "function_call",
        "call_id": use.id,
        "name": use.name,
        "arguments": use.arguments,
        "status": status,
    }


def _part(text: str, *, refused: bool = False) -> Json:
    if refused:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _event(name: str, kind: Kind, **data: object) -> Event:
    return Event({"type": name, **data}, name=name, kind=kind)


def _delta(name: str, piece: str, text: str, **data: object) -> Event:
    return Event({"type": name, **data, "delta": piece}, name, "content", text, count(piece))
