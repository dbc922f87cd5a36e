"""How the events of a response, or a response in one piece, become deltas. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from perdure_graph.models.effects import Finish
from perdure_graph.models.messages import ThinkingPart

from .openai_chat_reply import count, inner, tokens_of
from .openai_client import said_nothing
from .openai_errors import fault_in
from .protocol import Delta, Finished, RefusalDelta, TextDelta, ThinkingDelta, ThinkingDone, ToolCallDelta, UsageDelta
from .stream.faults import unfinished, words

_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_PIECES: dict[str, type[TextDelta | ThinkingDelta | RefusalDelta]] = {
    "response.output_text.delta": TextDelta,
    "response.refusal.delta": RefusalDelta,
    "response.reasoning_summary_text.delta": ThinkingDelta,
    "response.reasoning_text.delta": ThinkingDelta,
}


@dataclass(slots=True)
class _Item:
    """One item of the output, as far as it was told. heard: the kinds of piece, and how long the arguments are."""

    pieces: set[type[Delta]] = field(default_factory=set["type[Delta]"])
    named: bool = False
    arguments: int = 0


@dataclass(slots=True)
class ResponseReader:
    """Reads one response. provider: who can read its thinking again."""

    provider: str
    finish: Finish | None = None
    model: str = ""
    said: bool = False
    _last: dict[str, Any] | None = None
    _items: dict[int, _Item] = field(default_factory=dict[int, _Item])
    _calls: bool = False
    _refused: bool = False

    def read(self, event: dict[str, Any]) -> Iterator[Delta]:
        """Read one event; kinds that are not known are passed over.

        Raises:
            ModelFault: the response failed.
        """
        self._last = event
        kind = event.get("type")
        if event.get("object") == "response":
            yield from self._whole(event)
        elif kind in _TERMINAL:
            yield from self._whole(dict(inner(event, "response")))
        elif isinstance(kind, str) and kind.startswith("response."):
            self.said = self.said or ".output_" in kind or kind in _PIECES
            yield from self._event(kind, event)

    def end(self, *, simulated: bool) -> Iterator[Delta]:
        """Say that the answer is complete.

        Raises:
            ModelFault: it is not.
        """
        if self.finish is None:
            started = self.said or (self._last is not None and words(self._last.get("type")).startswith("response."))
            raise unfinished() if started else said_nothing(self._last)
        refused = self._refused and self.finish != "length"
        yield Finished("refusal" if refused else self.finish, self.model, simulated)

    def _event(self, kind: str, event: dict[str, Any]) -> Iterator[Delta]:
        place = count(event, "output_index")
        item = self._items.setdefault(place, _Item())
        if make := _PIECES.get(kind):
            yield from self._piece(item, make, words(event.get("delta")))
        elif kind == "response.reasoning_summary_part.added" and count(event, "summary_index"):
            yield ThinkingDelta("\n\n")
        elif kind == "response.function_call_arguments.delta":
            yield self._arguments(item, place, words(event.get("delta")))
        elif kind == "response.function_call_arguments.done":
            yield from self._rest(item, place, words(event.get("arguments")))
        elif kind == "response.output_item.added":
            yield from self._begun(item, place, inner(event, "item"))
        elif kind == "response.output_item.done":
            yield from self._item(place, dict(inner(event, "item")))

    def _piece(
        self, item: _Item, make: type[TextDelta | ThinkingDelta | RefusalDelta], text: str
    ) -> Iterator[TextDelta | ThinkingDelta | RefusalDelta]:
        if text:
            item.pieces.add(make)
            self._refused = self._refused or make is RefusalDelta
            yield make(text)

    def _begun(self, item: _Item, place: int, told: Any) -> Iterator[Delta]:
        if told.get("type") == "function_call" and not item.named:
            item.named = self._calls = True
            id_ = words(told.get("call_id")) or words(told.get("id"))
            yield ToolCallDelta(slot=place, id=id_, name=words(told.get("name")))

    def _arguments(self, item: _Item, place: int, text: str) -> Delta:
        item.arguments += len(text)
        return ToolCallDelta(slot=place, arguments=text)

    def _rest(self, item: _Item, place: int, arguments: str) -> Iterator[Delta]:
        if len(arguments) > item.arguments:
            yield self._arguments(item, place, arguments[item.arguments :])

    def _item(self, place: int, told: dict[str, Any]) -> Iterator[Delta]:
        """Read a finished item: what was not told in pieces is told now."""
        item = self._items.setdefault(place, _Item())
        if told.get("type") == "function_call":
            yield from self._begun(item, place, told)
            yield from self._rest(item, place, words(told.get("arguments")))
        elif told.get("type") == "message":
            heard = frozenset(item.pieces)
            for part in _parts(told, "content"):
                refusal = part.get("type") == "refusal"
                make = RefusalDelta if refusal else TextDelta
                if make not in heard:
                    yield from self._piece(item, make, words(part.get("refusal" if refusal else "text")))
        elif told.get("type") == "reasoning":
            yield from self._thought(item, told)

    def _thought(self, item: _Item, told: dict[str, Any]) -> Iterator[Delta]:
        if ThinkingDone in item.pieces:
            return
        summary = "\n\n".join(words(part.get("text")) for part in _parts(told, "summary"))
        text = summary or "\n\n".join(words(part.get("text")) for part in _parts(told, "content"))
        if text and ThinkingDelta not in item.pieces:
            yield ThinkingDelta(text)
        item.pieces.add(ThinkingDone)
        data, id_ = words(told.get("encrypted_content")), words(told.get("id"))
        yield ThinkingDone(ThinkingPart(provider=self.provider, text=summary, data=data, id=id_))

    def _whole(self, response: dict[str, Any]) -> Iterator[Delta]:
        """Read the response as it ended; what came before it in pieces is not told again."""
        if (fault := fault_in(response)) is not None:
            raise fault
        self.model = words(response.get("model")) or self.model
        for place, told in enumerate(_parts(response, "output")):
            self.said = True
            yield from self._item(place, told)
        if (tokens := tokens_of(response.get("usage"), "input", "output")) is not None:
            yield UsageDelta(tokens)
        status = response.get("status")
        if status == "incomplete":
            why = inner(response, "incomplete_details").get("reason")
            self.finish = "content_filter" if why == "content_filter" else "length"
        elif status == "completed":
            self.finish = "tool_calls" if self._calls else "stop"


def _parts(value: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    found: object = value.get(name)
    for part in cast("list[object]", found) if isinstance(found, list) else []:
        if isinstance(part, dict):
            yield cast("dict[str, Any]", part)
