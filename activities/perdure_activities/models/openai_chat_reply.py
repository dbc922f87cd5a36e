"""How the chunks of a chat completion, or a completion in one piece, become deltas. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from perdure_graph.models.effects import Finish
from perdure_graph.models.usage import Tokens

from .openai_client import said_nothing
from .protocol import (
    Delta,
    Finished,
    RefusalDelta,
    TextDelta,
    ThinkingDelta,
    UsageDelta,
)
from .stream.faults import unfinished
from .stream.json_in import MOST_COUNTED
from .stream.tool_slots import ToolSlots

_FINISH: dict[str, Finish] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
# A server says these of an answer that it gave up.
_GIVEN_UP = frozenset({"error", "abort", "aborted", "cancelled", "network_error"})


@dataclass(slots=True)
class ChatReader:
    """Reads one answer."""

    finish: Finish | None = None
    model: str = ""
    said: bool = False
    _last: dict[str, Any] | None = None
    _slots: ToolSlots = field(default_factory=ToolSlots)
    _refused: bool = False

    def read(self, event: dict[str, Any]) -> Iterator[Delta]:
        """Read one chunk."""
        self._last = event
        if isinstance(model := event.get("model"), str) and model:
            self.model = model
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(first := cast("list[object]", choices)[0], dict):
            self.said = True
            yield from self._choice(cast("dict[str, Any]", first))
        if (tokens := tokens_of(event.get("usage"))) is not None:
            yield UsageDelta(tokens)

    def end(self, *, simulated: bool) -> Iterator[Delta]:
        """Say that the answer is complete.

        Raises:
            ModelFault: it is not.
        """
        if self.finish is None:
            raise unfinished() if self.said else said_nothing(self._last)
        refused = self._refused and self.finish != "length"
        yield Finished("refusal" if refused else self.finish, self.model, simulated)

    def _choice(self, choice: dict[str, Any]) -> Iterator[Delta]:
        delta = choice.get("delta", choice.get("message"))
        if isinstance(delta, dict):
            yield from self._delta(cast("dict[str, Any]", delta))
        yield from _text(choice.get("text"))
        if isinstance(finish := choice.get("finish_reason"), str) and finish:
            if finish in _GIVEN_UP:
                raise unfinished()
            self.finish = _FINISH.get(finish, "stop")

    def _delta(self, delta: dict[str, Any]) -> Iterator[Delta]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if isinstance(thought, str):
            yield ThinkingDelta(thought)
        yield from self._content(delta.get("content"))
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._refused = True
            yield RefusalDelta(refusal)
        old: object = delta.get("function_call")
        yield from self._slots.take(delta.get("tool_calls") or ([{"function": old}] if old else None))

    def _content(self, content: object) -> Iterator[Delta]:
        if isinstance(content, str):
            yield from _text(content)
        elif isinstance(content, list):
            for part in cast("list[object]", content):
                if isinstance(part, dict):
                    yield from _part(cast("dict[str, Any]", part))


def _part(part: dict[str, Any]) -> Iterator[Delta]:
    if part.get("type") != "thinking":
        yield from _text(part.get("text"))
        return
    thought: object = part.get("thinking")
    for piece in cast("list[object]", thought) if isinstance(thought, list) else [{"text": thought}]:
        if isinstance(piece, dict) and isinstance(text := cast("dict[str, Any]", piece).get("text"), str):
            yield ThinkingDelta(text)


def _text(text: object) -> Iterator[Delta]:
    if isinstance(text, str) and text:
        yield TextDelta(text)


def tokens_of(usage: object, prompt_is: str = "prompt", completion_is: str = "completion") -> Tokens | None:
    """Read the usage of a reply; None where there is none, or only zeros. The names are what the wire calls the two."""
    if not isinstance(usage, dict):
        return None
    usage = cast("dict[str, Any]", usage)
    prompt, completion = count(usage, f"{prompt_is}_tokens"), count(usage, f"{completion_is}_tokens")
    if not prompt and not completion:
        return None
    before, after = inner(usage, f"{prompt_is}_tokens_details"), inner(usage, f"{completion_is}_tokens_details")
    return Tokens(
        prompt=prompt,
        completion=completion,
        cache_read=min(prompt, count(before, "cached_tokens") or count(usage, f"{prompt_is}_cache_hit_tokens")),
        cache_write=min(prompt, count(before, "cache_write_tokens")),
        reasoning=min(completion, count(after, "reasoning_tokens")),
    )


def inner(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give the object in a field; none is an empty one."""
    found: Any = value.get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}


def count(value: Mapping[str, Any], name: str) -> int:
    """Give the number in a field; none is 0."""
    found: Any = value.get(name)
    return int(found) if isinstance(found, int | float) and 0 < found < MOST_COUNTED else 0
