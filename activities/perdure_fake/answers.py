"""An answer, worked out: pieces, ids and token counts, ready to be put in the form of any wire."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from .asked import Asked
from .counting import count, fragments, pieces, prompt_tokens
from .invented import invent
from .script import Call, Finish, Reply, Used


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One tool call. `input` is its arguments as an object, None where they are none."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> str:
        """All of the text."""
        return "".join(self.pieces)

    @property
    def input(self) -> Any:
        """The object that the arguments are; empty where they are not JSON, as a real server has it."""
        try:
            return json.loads(self.arguments or "{}")
        except ValueError:
            return {}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said. `seal` is what proves that `thinking` is the provider's own."""

    id: str
    text: tuple[str, ...] = ()
    thinking: tuple[str, ...] = ()
    redacted: bool = False
    tools: tuple[ToolUse, ...] = ()
    refusal: tuple[str, ...] = ()
    finish: Finish = "stop"
    stopped_by: str | None = None
    used: Used = field(default_factory=Used)
    reported: Used | None = None

    @property
    def seal(self) -> str:
        """The signature of the thinking, or its encrypted form."""
        return seal("".join(self.thinking), hidden=self.redacted)

    @property
    def prompt(self) -> int:
        """Prompt tokens to report."""
        return _either(self.reported and self.reported.prompt, self.used.prompt)

    @property
    def completion(self) -> int:
        """Completion tokens to report, reasoning included."""
        return _either(self.reported and self.reported.completion, self.used.completion)

    @property
    def reasoning(self) -> int:
        """Reasoning tokens to report."""
        return _either(self.reported and self.reported.reasoning, self.used.reasoning)

    @property
    def cache_read(self) -> int:
        """Prompt tokens read from a cache."""
        return self.reported.cache_read if self.reported else 0

    @property
    def cache_write(self) -> int:
        """Prompt tokens written to a cache."""
        return self.reported.cache_write if self.reported else 0


def seal(thinking: str, *, hidden: bool = False) -> str:
    """Sign thinking so that it can be told from any other; a hidden one holds the text."""
    mark = hashlib.sha256(f"perdure-fake {thinking}".encode()).digest()[:24]
    return base64.b64encode(mark + (thinking.encode() if hidden else b"")).decode()


def opens(sealed: object, thinking: str | None = None) -> bool:
    """Whether a signature fits the thinking; without it, whether an encrypted form is one of ours."""
    try:
        raw = base64.b64decode(str(sealed), validate=True)
        text = raw[24:].decode() if thinking is None else thinking
    except ValueError:
        return False
    return str(sealed) == seal(text, hidden=thinking is None)


def answer_to(asked: Asked, reply: Reply | None) -> Answer:
    """Work a scripted reply out; without one, make an answer up."""
    made_up = reply is None
    reply = invent(asked) if reply is None else _placed(asked, reply)
    text = tuple(reply.chunks) or pieces(reply.text)
    stopped_by = None
    finish = reply.finish
    if made_up and text:
        text, finish, stopped_by = _limited(asked, text, finish)
    tools = tuple(_tool(asked, number, call) for number, call in enumerate(reply.tool_calls))
    answer = Answer(
        id=asked.digest[:24],
        text=text,
        thinking=pieces(reply.thinking),
        redacted=reply.redacted,
        tools=tools,
        refusal=pieces(reply.refusal or ""),
        finish=finish or ("refusal" if reply.refusal else "tool_calls" if tools else "stop"),
        stopped_by=stopped_by,
        reported=reply.usage,
    )
    return counted(asked, answer)


def counted(asked: Asked, answer: Answer) -> Answer:
    """Count the tokens of an answer, piece by piece."""
    reasoning = sum(count(piece) for piece in answer.thinking)
    said = sum(count(piece) for piece in (*answer.text, *answer.refusal))
    calls = sum(count(use.name) + sum(count(piece) for piece in use.pieces) for use in answer.tools)
    prompt = prompt_tokens(asked.texts, asked.messages, asked.images)
    return replace(answer, used=Used(prompt=prompt, completion=reasoning + said + calls, reasoning=reasoning))


def _placed(asked: Asked, reply: Reply) -> Reply:
    """Put a structured reply where the request wants it."""
    if reply.structured is None:
        return reply
    if asked.choice == "required" and asked.tools and isinstance(reply.structured, dict):
        call = Call(name=asked.forced or asked.tools[0].name, arguments=reply.structured)
        return reply.model_copy(update={"tool_calls": (call,), "structured": None})
    return reply.model_copy(update={"text": json.dumps(reply.structured, ensure_ascii=False), "structured": None})


def _limited(
    asked: Asked, text: tuple[str, ...], finish: Finish | None
) -> tuple[tuple[str, ...], Finish | None, str | None]:
    """Obey stop words and the token limit, which only an answer that was made up does."""
    whole = "".join(text)
    places = [(whole.find(word), word) for word in asked.stop if word and word in whole]
    if places:
        place, word = min(places)
        return pieces(whole[:place]), "stop_sequence", word
    if not isinstance(asked.max_tokens, int):
        return text, finish, None
    left, kept = asked.max_tokens, list[str]()
    for piece in text:
        left -= count(piece)
        if left < 0:
            return tuple(kept), "length", None
        kept.append(piece)
    return text, finish, None


def _tool(asked: Asked, number: int, call: Call) -> ToolUse:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments, ensure_ascii=False)
    prefix = "toolu_" if asked.wire == "anthropic-messages" else "call_"
    chosen = f"{prefix}{asked.digest[:18]}{number:02d}" if call.id is None else call.id
    return ToolUse(chosen, call.name, fragments(arguments))


def _either(first: int | None, second: int | None) -> int:
    return first if first is not None else second or 0
