"""Make the `system` and `messages` of a Messages request of a conversation. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, assert_never, cast

from perdure_graph.models.messages import (
    AssistantMessage,
    FilePart,
    Message,
    SystemMessage,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolMessage,
    UserMessage,
)

from .files import inline_text, key_of
from .protocol import LoadedFile, ModelFault

Block = dict[str, Any]

_BEFORE = "(What was said before is left out.)"
_AFTER = "Go on."
_NO_RESULT = "This call was not performed."
_MOST_ID_CHARS = 56
_NO_ID_CHARS = re.compile(r"[^A-Za-z0-9_-]")


def conversation(
    messages: Sequence[Message], provider: str, features: Collection[str], files: Mapping[str, LoadedFile]
) -> tuple[list[Block], list[Block]]:
    """Give the system blocks and the turns, each with a list of blocks.

    provider: whose thinking is given back; that of others is left out.

    Raises:
        ModelFault: a file cannot be sent, or there is nothing to say.
    """
    turns = _Turns(provider, "mid-system" in features, files)
    for message in messages:
        turns.add(message)
    return turns.finished(prefill="prefill" in features)


class _Turns:
    def __init__(self, provider: str, mid_system: bool, files: Mapping[str, LoadedFile]) -> None:
        self._provider = provider
        self._mid_system = mid_system
        self._files = files
        self._system: list[Block] = []
        self._turns: list[Block] = []
        # The calls of the last turn that wait for their results: the id each had, and the one it is sent with.
        self._open: list[tuple[str, str]] = []
        self._results: dict[str, Block] = {}
        self._ids: set[str] = set()

    def add(self, message: Message) -> None:
        if not isinstance(message, ToolMessage | SystemMessage):
            self._end_round()
        match message:
            case SystemMessage():
                self._add_system(message.text)
            case UserMessage():
                self._add("user", self._blocks(message.content))
            case AssistantMessage():
                self._add("assistant", self._said(message))
            case ToolMessage():
                self._add_result(message)
            case _:
                assert_never(message)

    def finished(self, *, prefill: bool) -> tuple[list[Block], list[Block]]:
        self._end_round()
        if not self._turns and self._system:
            # A prompt of a system message alone: there must be something to answer.
            self._add("user", self._system)
            self._system = []
        if not self._turns:
            raise ModelFault("bad_request", "there is nothing to send: all messages are empty")
        if self._turns[0]["role"] != "user":
            self._turns.insert(0, {"role": "user", "content": [_text(_BEFORE)]})
        last = self._turns[-1]
        if last["role"] == "system":
            self._add("user", [_text(_AFTER)])
        elif last["role"] == "assistant":
            # An answer that was begun is continued by some models only; and its end must not be space.
            if prefill and last["content"][-1]["type"] == "text":
                last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
            else:
                self._add("user", [_text(_AFTER)])
        return self._system, self._turns

    def _add(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if self._turns and self._turns[-1]["role"] == role:
            self._turns[-1]["content"] += blocks
        else:
            self._turns.append({"role": role, "content": [*blocks]})

    def _add_system(self, text: str) -> None:
        if not text.strip():
            return
        # Between a call and its result nothing may stand.
        if self._mid_system and self._turns and not self._open:
            self._add("system", [_text(text)])
        else:
            self._system.append(_text(text))

    def _add_result(self, message: ToolMessage) -> None:
        waiting = (sent for had, sent in self._open if had == message.call_id and sent not in self._results)
        id_ = next(waiting, None)
        blocks = self._blocks(message.content)
        if id_ is None:
            # Its call was cut off by a memory window.
            self._end_round()
            self._add("user", [_text(f"Result of the tool {message.name!r}:"), *blocks])
            return
        result: Block = {"type": "tool_result", "tool_use_id": id_}
        if blocks:
            result["content"] = blocks
        if message.is_error:
            result["is_error"] = True
        self._results[id_] = result

    def _end_round(self) -> None:
        """Give the results of a round in the order of its calls, one for each."""
        missing: Block = {"type": "tool_result", "content": [_text(_NO_RESULT)], "is_error": True}
        self._add("user", [self._results.get(id_) or {**missing, "tool_use_id": id_} for _, id_ in self._open])
        self._open, self._results = [], {}

    def _said(self, message: AssistantMessage) -> list[Block]:
        blocks: list[Block] = []
        for part in message.content:
            match part:
                case TextPart():
                    if part.text.strip():
                        blocks.append(_text(part.text))
                case ThinkingPart():
                    if part.provider == self._provider:
                        blocks += _thinking(part)
                case ToolCall():
                    self._open.append((part.id, id_ := self._new_id(part.id)))
                    blocks.append({"type": "tool_use", "id": id_, "name": part.name, "input": _input(part.arguments)})
                case _:
                    assert_never(part)
        # Thinking alone is no turn: it belongs to what followed it.
        return blocks if any(block["type"] in {"text", "tool_use"} for block in blocks) else []

    def _new_id(self, call_id: str) -> str:
        """Some servers number their calls anew in each answer; here an id may come once in a conversation."""
        id_ = wanted = _id(call_id)
        number = 2
        while id_ in self._ids:
            id_, number = f"{wanted}_{number}", number + 1
        self._ids.add(id_)
        return id_

    def _blocks(self, content: Sequence[TextPart | FilePart]) -> list[Block]:
        blocks: list[Block] = []
        for part in content:
            if isinstance(part, FilePart):
                blocks.append(self._file(part))
            elif part.text.strip():
                blocks.append(_text(part.text))
        return blocks

    def _file(self, part: FilePart) -> Block:
        loaded = self._files.get(key_of(part.file))
        name = str(part.file.get("filename") or key_of(part.file) or "file")
        if loaded is None:
            raise ModelFault("bad_request", f"the file {name!r} was not loaded")
        if (text := inline_text(loaded)) is not None:
            return _text(text)
        if part.kind == "image":
            return {"type": "image", "source": _source(loaded)}
        if part.kind == "document" and loaded.media_type == "application/pdf":
            return {"type": "document", "source": _source(loaded), "title": loaded.name}
        raise ModelFault(
            "bad_request",
            f"the file {name!r} is of the type {loaded.media_type or part.kind!r}, which Anthropic's models do not "
            "take: they take images, PDF and text",
        )


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _thinking(part: ThinkingPart) -> list[Block]:
    if part.data:
        return [{"type": "redacted_thinking", "data": part.data}]
    # Without its signature the provider takes it for forged.
    return [{"type": "thinking", "thinking": part.text, "signature": part.signature}] if part.signature else []


def _source(loaded: LoadedFile) -> Block:
    if loaded.content is None:
        return {"type": "url", "url": loaded.url}
    return {"type": "base64", "media_type": loaded.media_type, "data": base64.b64encode(loaded.content).decode()}


def _id(call_id: str) -> str:
    """Put the id of another provider's call into the form that this one takes."""
    if len(call_id) > _MOST_ID_CHARS:
        return f"call_{hashlib.sha256(call_id.encode()).hexdigest()[:32]}"
    return _NO_ID_CHARS.sub("_", call_id) or "call"


def _input(arguments: str) -> dict[str, Any]:
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = None
    # A broken call stays in the conversation with its result, which says what was wrong with it.
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"unreadable": arguments}
