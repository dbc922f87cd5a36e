"""Structured output that is asked for as a forced tool call, told as the text that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ..protocol import Delta, Finished, ModelCall, TextDelta, ToolCallDelta
from ..structured import answer_name


@dataclass(slots=True)
class ToolAnswer:
    """Turns the deltas of one answer to `call`; changes nothing where it asks for the answer in another way.

    Text beside the call is chatter and left out, unless the call never comes: then the answer may be in it.
    """

    call: ModelCall
    _slots: set[int] = field(default_factory=set[int])
    _others: bool = False
    _aside: list[str] = field(default_factory=list[str])

    def take(self, delta: Delta) -> Iterator[Delta]:
        """Take the next delta; give what it is told as."""
        if self.call.answer is None or self.call.answer_by != "tool":
            yield delta
        elif isinstance(delta, TextDelta):
            self._aside.append(delta.text)
        elif isinstance(delta, ToolCallDelta):
            yield from self._call(delta, answer_name(self.call.answer))
        elif isinstance(delta, Finished):
            if not self._slots and self._aside:
                yield TextDelta("".join(self._aside))
            done = delta.finish == "tool_calls" and not self._others
            yield replace(delta, finish="stop") if done else delta
        else:
            yield delta

    def _call(self, delta: ToolCallDelta, name: str) -> Iterator[Delta]:
        if delta.name == name:
            self._slots.add(delta.slot)
        if delta.slot not in self._slots:
            self._others = True
            yield delta
        elif delta.slot == min(self._slots) and delta.arguments:
            # A model that answers twice is taken by its first word.
            yield TextDelta(delta.arguments)
