"""Make deltas of the events of one Messages reply. Pure.

Events are read as plain JSON: the SDK's own types would drop what they do not know, and its helpers take a stream
that breaks off for a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, cast

from perdure_graph.models.effects import Finish
from perdure_graph.models.messages import ThinkingPart
from perdure_graph.models.usage import Tokens

from .anthropic_errors import fault_in
from .protocol import Delta, ModelFault, RefusalDelta, TextDelta, ThinkingDelta, ThinkingDone, ToolCallDelta, UsageDelta
from .stream.faults import unreadable
from .stream.json_in import MOST_COUNTED

Event = Mapping[str, Any]


_FINISHES: dict[str, Finish] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    # A reply that is still paused after the last time it was sent back is not whole.
    "pause_turn": "length",
}


class Reply:
    """One reply while its events come.

    model: as the provider names the one that answers.
    stop: why it stopped; empty before it has, or where it does not say.
    done: whether it said that it is whole.
    said: whether anything of an answer came.
    """

    def __init__(self, provider: str, *, before: Tokens | None = None, slot: int = 0) -> None:
        self.model = ""
        self.stop = ""
        self.done = False
        self.said = False
        self.slot = slot
        self._provider = provider
        self._before = before or Tokens()
        self._usage: dict[str, int] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}
        self._slots: dict[int, int] = {}

    @property
    def tokens(self) -> Tokens:
        """What this reply, and those before it, used."""
        got = self._usage.get
        read, written = got("cache_read_input_tokens", 0), got("cache_creation_input_tokens", 0)
        return self._before.plus(
            Tokens(
                prompt=got("input_tokens", 0) + read + written,
                completion=got("output_tokens", 0),
                cache_read=read,
                cache_write=written,
                reasoning=got("thinking_tokens", 0),
            )
        )

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """The blocks so far, as they are sent back to have a paused reply continued."""
        return [self._whole(index) for index in sorted(self._blocks)]

    @property
    def finish(self) -> Finish:
        """Why it stopped, as all providers say it."""
        return _FINISHES.get(self.stop) or ("tool_calls" if self._slots else "stop")

    def take(self, event: Event) -> Iterator[Delta]:
        """Take the next event.

        Raises:
            ModelFault: the event tells of an error, or is none.
        """
        match event.get("type"):
            case "message_start":
                yield from self._start(_mapping(event.get("message")))
            case "content_block_start":
                yield from self._open(_index(event), _mapping(event.get("content_block")))
            case "content_block_delta":
                yield from self._grow(_index(event), _mapping(event.get("delta")))
            case "content_block_stop":
                yield from self._close(_index(event))
            case "message_delta":
                yield from self._end(_mapping(event.get("delta")), event.get("usage"))
            case "message_stop":
                self.done = True
            case _:
                # Pings, and events that are newer than this code.
                if (fault := fault_in(event)) is not None:
                    raise fault

    def take_whole(self, message: Event) -> Iterator[Delta]:
        """Take a reply that came as one JSON object, although a stream was asked for.

        Raises:
            ModelFault: it tells of an error, or is no reply.
        """
        if (fault := fault_in(message)) is not None:
            raise fault
        content = message.get("content")
        if message.get("type") != "message" or not isinstance(content, list):
            raise unreadable("the provider answered with JSON that is no message", json.dumps(message)[:500])
        yield from self._start(message)
        for index, block in enumerate(cast("list[Any]", content)):
            yield from self._open(index, _mapping(block))
            yield from self._close(index)
        yield from self._end(message, None)
        self.done = True

    def _start(self, message: Event) -> Iterator[Delta]:
        self.model = str(message.get("model") or "")
        yield from self._count(message.get("usage"))

    def _open(self, index: int, block: Event) -> Iterator[Delta]:
        self._blocks[index], self._pieces[index] = dict(block), []
        match block.get("type"):
            case "text":
                yield from self._text(_str(block.get("text")))
            case "thinking":
                yield from self._thought(_str(block.get("thinking")))
            case "tool_use":
                self.said = True
                self._slots[index] = self.slot
                yield ToolCallDelta(self.slot, id=_str(block.get("id")), name=_str(block.get("name")))
                self.slot += 1
            case _:
                pass

    def _grow(self, index: int, delta: Event) -> Iterator[Delta]:
        block = self._blocks.setdefault(index, {"type": "text", "text": ""})
        pieces = self._pieces.setdefault(index, [])
        match delta.get("type"):
            case "text_delta":
                pieces.append(text := _str(delta.get("text")))
                yield from self._text(text)
            case "thinking_delta":
                pieces.append(text := _str(delta.get("thinking")))
                yield from self._thought(text)
            case "signature_delta":
                # Whole each time it comes.
                block["signature"] = _str(delta.get("signature"))
            case "input_json_delta":
                pieces.append(text := _str(delta.get("partial_json")))
                if index in self._slots and text:
                    yield ToolCallDelta(self._slots[index], arguments=text)
            case "citations_delta":
                block["citations"] = [*(block.get("citations") or []), delta.get("citation")]
            case _:
                pass

    def _close(self, index: int) -> Iterator[Delta]:
        block = self._blocks.get(index)
        match block and block.get("type"):
            case "thinking":
                whole = self._whole(index)
                part = ThinkingPart(
                    provider=self._provider, text=_str(whole.get("thinking")), signature=_str(whole.get("signature"))
                )
                if part.text or part.signature:
                    yield ThinkingDone(part)
            case "redacted_thinking":
                self.said = True
                yield ThinkingDone(ThinkingPart(provider=self._provider, data=_str(_mapping(block).get("data"))))
            case "tool_use":
                # Some gateways give the whole input with the beginning of the block.
                given = _mapping(block).get("input")
                if given and not any(self._pieces[index]) and index in self._slots:
                    yield ToolCallDelta(self._slots[index], arguments=json.dumps(given, ensure_ascii=False))
            case _:
                pass

    def _end(self, delta: Event, usage: Any) -> Iterator[Delta]:
        self.stop = _str(delta.get("stop_reason")) or self.stop
        yield from self._count(usage)
        if self.stop == "refusal":
            details = _mapping(delta.get("stop_details"))
            why = _str(details.get("explanation")) or _str(details.get("category")) or "the model refused to answer"
            yield RefusalDelta(why)
        if self.stop == "model_context_window_exceeded" and not self.said:
            raise ModelFault(
                "context_overflow", "the prompt fills the model's whole context window", status=200, maybe_billed=True
            )

    def _count(self, usage: Any) -> Iterator[Delta]:
        """Take counts, which are those of the whole reply each time; null leaves what was said before."""
        told = dict(_mapping(usage))
        told["thinking_tokens"] = _mapping(told.get("output_tokens_details")).get("thinking_tokens")
        for name, value in told.items():
            if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST_COUNTED:
                self._usage[name] = value
        if usage and (tokens := self.tokens).total > 0:
            yield UsageDelta(tokens)

    def _text(self, text: str) -> Iterator[Delta]:
        if text:
            self.said = True
            yield TextDelta(text)

    def _thought(self, text: str) -> Iterator[Delta]:
        if text:
            self.said = True
            yield ThinkingDelta(text)

    def _whole(self, index: int) -> dict[str, Any]:
        block, joined = dict(self._blocks[index]), "".join(self._pieces[index])
        match block.get("type"):
            case "text" | "thinking" as name:
                block[name] = _str(block.get(name)) + joined
            case "redacted_thinking":
                pass
            case _ if joined:
                try:
                    block["input"] = json.loads(joined)
                except (ValueError, RecursionError):
                    block["input"] = {}
            case _:
                pass
        return block


def _mapping(value: Any) -> Event:
    return cast("Event", value) if isinstance(value, Mapping) else {}


def _index(event: Event) -> int:
    index = event.get("index")
    return index if isinstance(index, int) else 0


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""
