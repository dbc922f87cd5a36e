"""Deltas make an answer. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import assert_never

from perdure_graph.models.effects import Finish
from perdure_graph.models.messages import AssistantMessage, Message, TextPart, ThinkingPart, ToolCall
from perdure_graph.models.usage import Tokens

from ..protocol import (
    Delta,
    Finished,
    Headers,
    ModelCall,
    ModelFault,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    ThinkingDone,
    ToolCallDelta,
    UsageDelta,
)
from .faults import unfinished

MOST_TOOL_CALLS = 16
MOST_REPLY_BYTES = 10 * 1024 * 1024

_Said = TextPart | ThinkingPart | ToolCall


@dataclass(frozen=True, slots=True)
class Accumulated:
    """A whole answer.

    message: as it must be given back. model: as the provider names it, or as it was asked for.
    tokens: None where the provider did not say.
    """

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    message: AssistantMessage
    finish: Finish
    refusal: str | None
    tokens: Tokens | None
    model: str
    simulated: bool
    headers: Headers


@dataclass(slots=True)
class _Call:
    place: int
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Text:
    pieces: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class Accumulator:
    """Collects the deltas of one answer to `call`.

    provider: who answers; it is named in errors. most_bytes: of all that was said.
    """

    call: ModelCall
    provider: str
    most_bytes: int = MOST_REPLY_BYTES
    _said: list[_Text | ThinkingPart | _Call] = field(default_factory=list["_Text | ThinkingPart | _Call"])
    _calls: dict[int, _Call] = field(default_factory=dict[int, _Call])
    _reasoning: list[str] = field(default_factory=list[str])
    _refusal: list[str] = field(default_factory=list[str])
    _tokens: Tokens | None = None
    _headers: Headers = field(default_factory=Headers)
    _finished: Finished | None = None
    _bytes: int = 0

    def take(self, delta: Delta) -> None:
        """Add one delta.

        Raises:
            ModelFault: the answer is too long.
        """
        match delta:
            case TextDelta(text):
                self._grow(text)
                if text:
                    self._open_text().pieces.append(text)
            case ThinkingDelta(text):
                self._grow(text)
                self._reasoning.append(text)
            case ThinkingDone(part):
                self._grow(part.data)
                self._said.append(part)
            case ToolCallDelta():
                self._grow(delta.arguments)
                self._take_call(delta)
            case RefusalDelta(text):
                self._grow(text)
                self._refusal.append(text)
            case UsageDelta(tokens):
                self._tokens = tokens
            case Headers():
                self._headers = delta
            case Finished():
                self._finished = delta
            case _:
                assert_never(delta)

    def said_so_far(self) -> tuple[str, str]:
        """Give text and reasoning of an answer that may not be whole, to estimate what it used."""
        calls = "".join(call.name + "".join(call.arguments) for call in self._calls.values())
        return self._text() + "".join(self._refusal) + calls, "".join(self._reasoning)

    @property
    def tokens(self) -> Tokens | None:
        """What the provider said was used, so far."""
        return self._tokens

    @property
    def headers(self) -> Headers:
        """What the headers said."""
        return self._headers

    def accumulated(self) -> Accumulated:
        """Give the answer.

        Raises:
            ModelFault: it is not whole.
        """
        done = self._finished
        if done is None:
            raise unfinished()
        parts = _with_calls(self._said, self.call.messages, cut=done.finish == "length")
        calls = tuple(part for part in parts if isinstance(part, ToolCall))
        refusal = "".join(self._refusal)
        return Accumulated(
            text=self._text(),
            reasoning="".join(self._reasoning),
            tool_calls=calls,
            message=AssistantMessage(content=parts),
            finish=_finish(done.finish, calls),
            refusal=refusal or None,
            tokens=self._tokens,
            model=done.model or self.call.model,
            simulated=done.simulated,
            headers=self._headers,
        )

    def _text(self) -> str:
        return "".join("".join(part.pieces) for part in self._said if isinstance(part, _Text))

    def _open_text(self) -> _Text:
        last = self._said[-1] if self._said else None
        if not isinstance(last, _Text):
            self._said.append(last := _Text())
        return last

    def _take_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.slot)
        if call is None:
            call = self._calls[delta.slot] = _Call(len(self._calls))
            self._said.append(call)
        call.id, call.name = call.id or delta.id, call.name or delta.name
        call.arguments.append(delta.arguments)

    def _grow(self, text: str) -> None:
        self._bytes += len(text.encode("utf-8", "replace"))
        if self._bytes > self.most_bytes:
            raise ModelFault(
                "protocol_error",
                f"the answer of {self.provider!r} is longer than the limit of {self.most_bytes} bytes",
                maybe_billed=True,
            )


def _finish(finish: Finish, calls: tuple[ToolCall, ...]) -> Finish:
    # Some servers say `stop` after calls, or `tool_calls` without one.
    if finish == "stop" and calls:
        return "tool_calls"
    return "stop" if finish == "tool_calls" and not calls else finish


def _with_calls(
    said: list[_Text | ThinkingPart | _Call], before: tuple[Message, ...], *, cut: bool
) -> tuple[_Said, ...]:
    """Turn what was said into parts. Only the last call can be the one that a limit cut off."""
    last = max((part.place for part in said if isinstance(part, _Call)), default=-1)
    ids = _Ids.after(before, {part.id for part in said if isinstance(part, _Call)})
    parts: list[_Said] = []
    for part in said:
        if isinstance(part, _Text):
            parts.append(TextPart(text="".join(part.pieces)))
        elif isinstance(part, _Call):
            parts.append(_call(part, ids.give(part), cut=cut and part.place == last))
        else:
            parts.append(part)
    return tuple(parts)


@dataclass(slots=True)
class _Ids:
    """Ids of calls, each given once in a conversation: some servers count from 0 in every answer, or give none."""

    round: int
    given: set[str]
    wanted: set[str]

    @classmethod
    def after(cls, messages: tuple[Message, ...], wanted: set[str]) -> _Ids:
        """Give none that is in these messages."""
        earlier = (part for message in messages if isinstance(message, AssistantMessage) for part in message.content)
        return cls(len(messages), {part.id for part in earlier if isinstance(part, ToolCall)}, wanted)

    def give(self, call: _Call) -> str:
        """Keep the id of a call where that can be, else make one of its place."""
        id_ = call.id
        if not id_ or id_ in self.given:
            id_ = f"{id_ or 'call'}_{self.round}_{call.place}"
            while id_ in self.given or id_ in self.wanted:
                id_ += "_"
        self.given.add(id_)
        return id_


def _call(call: _Call, id_: str, *, cut: bool) -> ToolCall:
    arguments = "".join(call.arguments)
    broken = None
    if call.place >= MOST_TOOL_CALLS:
        broken = f"at most {MOST_TOOL_CALLS} calls are made in one turn; this is number {call.place + 1}"
    elif not call.name:
        broken = "the call names no tool"
    elif cut:
        broken = "the call was cut off by the limit of tokens"
    elif not arguments.strip():
        arguments = "{}"
    elif why := _no_object(arguments):
        broken = why
    return ToolCall(id=id_, name=call.name, arguments=arguments, broken=broken)


def _no_object(text: str) -> str | None:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        return "the arguments are nested too deeply"
    except ValueError as error:
        return f"the arguments are not JSON ({error})"
    return None if isinstance(value, dict) else "the arguments are no JSON object"


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
