"""Anthropic Messages."""

from __future__ import annotations

from ..answers import Answer, ToolUse
from ..asked import Asked
from ..counting import count
from ..plans import Event, Json, Kind
from ..script import Finish

STOP: dict[Finish, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
    "window": "model_context_window_exceeded",
}


def usage(answer: Answer) -> Json:
    """Give the usage of an answer; what was cached is counted apart."""
    return {
        "input_tokens": answer.prompt - answer.cache_read - answer.cache_write,
        "cache_creation_input_tokens": answer.cache_write,
        "cache_read_input_tokens": answer.cache_read,
        "cache_creation": {"ephemeral_5m_input_tokens": answer.cache_write, "ephemeral_1h_input_tokens": 0},
        "output_tokens": answer.completion,
        "output_tokens_details": {"thinking_tokens": answer.reasoning},
        "service_tier": "standard",
    }


def whole(asked: Asked, answer: Answer) -> Json:
    """Give the body of an answer."""
    content: list[Json] = []
    if answer.thinking:
        content.append(_thought(answer, "".join(answer.thinking), answer.seal))
    text = "".join(answer.refusal or answer.text)
    if text:
        content.append({"type": "text", "text": text, "citations": None})
    content += [{**_opened(use), "input": use.input} for use in answer.tools]
    return {**_frame(asked, answer), "content": content, **_stop(answer), "usage": usage(answer)}


def events(asked: Asked, answer: Answer) -> list[Event]:
    """Give the events of an answer."""
    started = {**usage(answer), "output_tokens": 1, "output_tokens_details": {"thinking_tokens": 0}}
    nothing_yet: Json = {"content": [], "stop_reason": None, "stop_sequence": None, "stop_details": None}
    made = [_event("message_start", "open", message={**_frame(asked, answer), **nothing_yet, "usage": started})]
    index = 0
    if answer.thinking:
        made += _thinking(answer, index)
        index += 1
    pieces = answer.refusal or answer.text
    if pieces:
        opened = {"type": "text", "text": "", "citations": None}
        made.append(_event("content_block_start", "open", index=index, content_block=opened))
        if index == 0:
            made.append(_event("ping", "open"))
        made += [_delta(index, {"type": "text_delta", "text": piece}, piece, count(piece)) for piece in pieces]
        made.append(_event("content_block_stop", "close", index=index))
        index += 1
    for position, use in enumerate(answer.tools, start=index):
        made.append(_event("content_block_start", "open", index=position, content_block={**_opened(use), "input": {}}))
        for number, piece in enumerate(use.pieces):
            tokens = count(piece) + (0 if number else count(use.name))
            made.append(_delta(position, {"type": "input_json_delta", "partial_json": piece}, piece, tokens))
        made.append(_event("content_block_stop", "close", index=position))
    final = {key: value for key, value in usage(answer).items() if key not in {"cache_creation", "service_tier"}}
    made.append(_event("message_delta", "finish", delta=_stop(answer), usage=final))
    return [*made, _event("message_stop", "done")]


def _thinking(answer: Answer, index: int) -> list[Event]:
    opened = _thought(answer, "", answer.seal if answer.redacted else "")
    made = [_event("content_block_start", "open", index=index, content_block=opened)]
    if not answer.redacted:
        for piece in answer.thinking:
            made.append(_delta(index, {"type": "thinking_delta", "thinking": piece}, "", count(piece)))
        made.append(_delta(index, {"type": "signature_delta", "signature": answer.seal}))
    return [*made, _event("content_block_stop", "close", index=index)]


def _thought(answer: Answer, text: str, sealed: str) -> Json:
    if answer.redacted:
        return {"type": "redacted_thinking", "data": sealed}
    return {"type": "thinking", "thinking": text, "signature": sealed}


def _frame(asked: Asked, answer: Answer) -> Json:
    return {"id": f"msg_{answer.id}", "type": "message", "role": "assistant", "model": asked.model}


def _stop(answer: Answer) -> Json:
    details = None
    if STOP[answer.finish] == "refusal":
        explanation = "".join(answer.refusal) or "This request was declined."
        details = {"type": "refusal", "category": "general_harms", "explanation": explanation}
    return {"stop_reason": STOP[answer.finish], "stop_sequence": answer.stopped_by, "stop_details": details}


def _opened(use: ToolUse) -> Json:
    return {"type": "tool_use", "id": use.id, "name": use.name}


def _event(name: str, kind: Kind, **data: object) -> Event:
    return Event({"type": name, **data}, name=name, kind=kind)


def _delta(index: int, delta: Json, text: str = "", tokens: int = 0) -> Event:
    data = {"type": "content_block_delta", "index": index, "delta": delta}
    return Event(data, name="content_block_delta", kind="content", text=text, tokens=tokens)
