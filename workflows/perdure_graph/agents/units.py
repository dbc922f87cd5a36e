"""What a ReAct turn is made of, and what of it counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

ToolInput = dict[str, JsonValue] | list[JsonValue] | str


class _Unit(BaseModel):
    model_config = ConfigDict(frozen=True)


class Thought(_Unit):
    """Free text; of a turn without anything else it is the answer."""

    t: Literal["thought"] = "thought"
    text: str


class Action(_Unit):
    """A tool call. A text given as input stays one: the tool's parameters decide what it means."""

    t: Literal["action"] = "action"
    name: str
    input: ToolInput


class Answer(_Unit):
    """The final answer."""

    t: Literal["answer"] = "answer"
    text: str


class Malformed(_Unit):
    """A tool call that cannot be read; `text` is what was written."""

    t: Literal["malformed"] = "malformed"
    text: str


class Empty(_Unit):
    """Nothing was said: what `effective` gives then, never part of a turn."""

    t: Literal["empty"] = "empty"


Unit = Annotated[Thought | Action | Answer | Malformed, Field(discriminator="t")]


@dataclass(frozen=True, slots=True)
class Written:
    """More text of a thought, of the answer, or of the reasoning that the model keeps apart.

    index: which unit of the turn it belongs to, from 0; of reasoning, which block.
    """

    t: Literal["thought", "answer", "reasoning"]
    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A whole action, or one that cannot be read."""

    index: int
    unit: Action | Malformed


Delta = Written | Called


def effective(units: Sequence[Unit]) -> Action | Answer | Malformed | Empty:
    """Give what the agent acts on: the first action, answer or malformed action; else its thoughts are the answer."""
    thoughts: list[str] = []
    for unit in units:
        if not isinstance(unit, Thought):
            return unit
        thoughts.append(unit.text)
    return Answer(text="\n".join(thoughts)) if thoughts else Empty()


def joined(deltas: Iterable[Delta]) -> tuple[list[Unit], list[str]]:
    """Put deltas together: the units of a turn, and its blocks of reasoning."""
    texts: dict[int, Written] = {}
    blocks: dict[int, str] = {}
    units: dict[int, Unit] = {}
    for delta in deltas:
        if isinstance(delta, Called):
            units[delta.index] = delta.unit
        elif delta.t == "reasoning":
            blocks[delta.index] = blocks.get(delta.index, "") + delta.text
        else:
            before = texts.get(delta.index)
            texts[delta.index] = Written(delta.t, delta.index, (before.text if before else "") + delta.text)
    for index, written in texts.items():
        units[index] = Thought(text=written.text) if written.t == "thought" else Answer(text=written.text)
    return [units[index] for index in sorted(units)], [blocks[index] for index in sorted(blocks)]
