"""OpenAI Chat Completions, and the servers that are compatible with it."""

from __future__ import annotations

import time

from ..answers import Answer, ToolUse
from ..asked import Asked, mapping
from ..counting import count
from ..plans import Event, Json
from ..script import Finish

FINISH: dict[Finish, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "stop",
    "pause": "stop",
    "window": "length",
}


def usage(answer: Answer) -> Json:
    """Give the usage of an answer."""
    return {
        "prompt_tokens": answer.prompt,
        "completion_tokens": answer.completion,
        "total_tokens": answer.prompt + answer.completion,
        "prompt_tokens_details": {
            "cached_tokens": answer.cache_read,
            "cache_write_tokens": answer.cache_write,
            "audio_tokens": 0,
        },
        "completion_tokens_details": {
            "reasoning_tokens": answer.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def whole(asked: Asked, answer: Answer) -> Json:
    """Give the body of an answer."""
    message: Json = {
        "role": "assistant",
        "content": "".join(answer.text) if answer.text or not (answer.tools or answer.refusal) else None,
        "refusal": "".join(answer.refusal) or None,
        "annotations": [],
    }
    if answer.thinking:
        message["reasoning_content"] = "".join(answer.thinking)
    if answer.tools:
        message["tool_calls"] = [{**_opened(use), "function": _function(use)} for use in answer.tools]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": FINISH[answer.finish]}
    return {**_frame(asked, answer, "chat.completion"), "choices": [choice], "usage": usage(answer)}


def events(asked: Asked, answer: Answer) -> list[Event]:
    """Give the chunks of an answer."""
    counted = mapping(asked.body.get("stream_options")).get("include_usage") is True
    frame = _frame(asked, answer, "chat.completion.chunk") | ({"usage": None} if counted else {})

    def chunk(delta: Json, kind: str = "content", text: str = "", tokens: int = 0, end: str | None = None) -> Event:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        data = {**frame, "choices": [choice]}
        return Event(data, kind="finish" if end else "open" if kind == "open" else "content", text=text, tokens=tokens)

    content = None if answer.tools and not answer.text else ""
    made = [chunk({"role": "assistant", "content": content, "refusal": None}, "open")]
    made += [chunk({"reasoning_content": piece}, tokens=count(piece)) for piece in answer.thinking]
    made += [chunk({"content": piece}, text=piece, tokens=count(piece)) for piece in answer.text]
    made += [chunk({"refusal": piece}, text=piece, tokens=count(piece)) for piece in answer.refusal]
    for index, use in enumerate(answer.tools):
        opened = {"index": index, **_opened(use), "function": {"name": use.name, "arguments": ""}}
        made.append(chunk({"tool_calls": [opened]}, tokens=count(use.name)))
        for piece in use.pieces:
            part = {"index": index, "function": {"arguments": piece}}
            made.append(chunk({"tool_calls": [part]}, text=piece, tokens=count(piece)))
    made.append(chunk({}, end=FINISH[answer.finish]))
    if counted:
        made.append(Event({**frame, "choices": [], "usage": usage(answer)}, kind="usage"))
    return [*made, Event("[DONE]", kind="done")]


def _frame(asked: Asked, answer: Answer, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{answer.id}",
        "object": kind,
        "created": int(time.time()),
        "model": asked.model,
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }


def _opened(use: ToolUse) -> Json:
    return {"id": use.id, "type": "function"}


def _function(use: ToolUse) -> Json:
    return {"name": use.name, "arguments": use.arguments}
