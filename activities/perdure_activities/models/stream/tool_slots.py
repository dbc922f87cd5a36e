"""Which call a piece of a tool call belongs to: servers number them by index, by id, badly or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from ..protocol import ToolCallDelta
from .faults import words


@dataclass(slots=True)
class _Slot:
    place: int
    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list[str])
    named_in: int = -1


@dataclass(slots=True)
class ToolSlots:
    """Sorts the pieces of one answer's tool calls, in the order in which the calls begin.

    A piece belongs to the last call of its index; where it has none, to the call of its id, else to the last call.
    A piece that names a function begins a new call when it has another id than that call, another name, is the second
    in one chunk to name one, or when the arguments of that call are complete already.
    """

    _slots: list[_Slot] = field(default_factory=list[_Slot])
    _chunk: int = 0

    def take(self, pieces: object) -> Iterator[ToolCallDelta]:
        """Read `delta.tool_calls` of one chunk."""
        self._chunk += 1
        if isinstance(pieces, Sequence) and not isinstance(pieces, str):
            for piece in cast("Sequence[object]", pieces):
                if isinstance(piece, Mapping):
                    yield self._take(cast("Mapping[str, Any]", piece))

    def _take(self, piece: Mapping[str, Any]) -> ToolCallDelta:
        function: Any = piece.get("function")
        function = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else {}
        id_, name, arguments = words(piece.get("id")), words(function.get("name")), words(function.get("arguments"))
        index = piece.get("index")
        index = index if isinstance(index, int) and not isinstance(index, bool) else None
        slot = self._find(index, id_)
        if slot is None or (name and self._is_another(slot, id_, name)):
            slot = _Slot(len(self._slots), index)
            self._slots.append(slot)
        new_id, new_name = "" if slot.id else id_, "" if slot.name else name
        slot.id, slot.name = slot.id or id_, slot.name or name
        if name:
            slot.named_in = self._chunk
        slot.arguments.append(arguments)
        return ToolCallDelta(slot=slot.place, id=new_id, name=new_name, arguments=arguments)

    def _find(self, index: int | None, id_: str) -> _Slot | None:
        latest = self._slots[-1] if self._slots else None
        if index is not None:
            return next((slot for slot in reversed(self._slots) if slot.index == index), None)
        return next((slot for slot in self._slots if id_ and slot.id == id_), latest)

    def _is_another(self, slot: _Slot, id_: str, name: str) -> bool:
        if id_ and slot.id:
            return id_ != slot.id
        if slot.name and (name != slot.name or slot.named_in == self._chunk):
            return True
        return bool(slot.name) and _whole("".join(slot.arguments))


def _whole(text: str) -> bool:
    if not text.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
