"""OpenAI's old Completions: one text in, one text out."""

from __future__ import annotations

import time

from ..answers import Answer
from ..asked import Asked, mapping
from ..counting import count
from ..plans import Event, Json
from .chat import FINISH, usage


def whole(asked: Asked, answer: Answer) -> Json:
    """Give the body of an answer."""
    return {**_frame(asked, answer, "".join(answer.text), FINISH[answer.finish]), "usage": usage(answer)}


def events(asked: Asked, answer: Answer) -> list[Event]:
    """Give the chunks of an answer."""
    made = [
        Event(_frame(asked, answer, piece, None), kind="content", text=piece, tokens=count(piece))
        for piece in answer.text
    ]
    made.append(Event(_frame(asked, answer, "", FINISH[answer.finish]), kind="finish"))
    if mapping(asked.body.get("stream_options")).get("include_usage") is True:
        made.append(Event({**_frame(asked, answer, "", None), "choices": [], "usage": usage(answer)}, kind="usage"))
    return [*made, Event("[DONE]", kind="done")]


def _frame(asked: Asked, answer: Answer, text: str, finish: str | None) -> Json:
    return {
        "id": f"cmpl-{answer.id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": asked.model,
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }
