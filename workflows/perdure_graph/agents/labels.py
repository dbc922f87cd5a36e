"""Labels of a ReAct text (`Thought:`, `Action Input:`, ...): where they count, and what may still become one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto

# Nothing longer is held back to see whether it becomes a label; counted from the first mark or letter to the colon.
LONGEST = 24


class Label(Enum):
    """What a label announces."""

    THOUGHT = auto()
    ACTION = auto()
    INPUT = auto()
    OBSERVATION = auto()
    FINAL = auto()
    ANSWER = auto()


class Verdict(Enum):
    """What a text is that is no label: it may become one, or never."""

    MAYBE = auto()
    NEVER = auto()


@dataclass(frozen=True, slots=True)
class Found:
    """A label. `marks`: how many marks of emphasis are still to be closed behind the colon."""

    label: Label
    marks: int = 0


_FINAL = ("final answer", "final_answer", "final-answer", "finalanswer", "最终答案", "最终回答")
_ACTION = ("action", "行动", "动作")

_WORDS: dict[str, Label] = {
    **dict.fromkeys(("thought", "思考", "想法"), Label.THOUGHT),
    **dict.fromkeys(_ACTION, Label.ACTION),
    **dict.fromkeys(("action input", "action_input", "action-input", "actioninput"), Label.INPUT),
    **dict.fromkeys(("行动输入", "动作输入", "工具输入"), Label.INPUT),
    **dict.fromkeys(("observation", "观察", "观察结果"), Label.OBSERVATION),
    **dict.fromkeys(_FINAL, Label.FINAL),
    **dict.fromkeys(("answer", "答案", "回答"), Label.ANSWER),
}
_MIDDLE: dict[str, Label] = {**dict.fromkeys(_ACTION, Label.ACTION), **dict.fromkeys(_FINAL, Label.FINAL)}

_LINE_MARKS = "*_#>-"
_LINE_STARTS = frozenset(_LINE_MARKS) | {word[0] for word in _WORDS}
_MIDDLE_STARTS = frozenset("*_") | {word[0] for word in _MIDDLE}
_LEAD = re.compile(r"[ \t*_#>-]*")
_EMPHASIS = re.compile(r"[*_]{0,3}")
_TAIL = re.compile(r"([*_ \t]*)([:：]?)")
_CALL = re.compile(r"[*_]{0,3}\s{0,3}([{\[`]?)")
# Wide punctuation takes no space behind it.
_SENTENCE_ENDS = frozenset(".!?…。！？；，：")


def begins_line(char: str) -> bool:
    """Say whether a label at the start of a line may begin with this."""
    return char.lower() in _LINE_STARTS


def begins_middle(char: str, before: str) -> bool:
    """Say whether a label within a line may begin with this, behind the character `before`."""
    return char.lower() in _MIDDLE_STARTS and not (before.isalnum() or before == "_")


def read_line(text: str) -> Found | Verdict:
    """Read the label that a line begins with; `text` ends at its colon at the latest."""
    if len(text) > LONGEST:
        return Verdict.NEVER
    lead = _LEAD.match(text)
    marks = lead.group() if lead else ""
    found = _word(text[len(marks) :].lower(), _WORDS)
    if isinstance(found, Verdict):
        return found
    label, rest = found
    return _ended(label, marks, rest) or Verdict.NEVER


def read_middle(text: str, before: str) -> Found | Verdict:
    """Read a label within a line, behind the character `before`.

    An action's ends with the character that shows that a call follows, which is not part of it.
    """
    if len(text) > LONGEST:
        return Verdict.NEVER
    lead = _EMPHASIS.match(text)
    marks = lead.group() if lead else ""
    found = _word(text[len(marks) :].lower(), _MIDDLE)
    if isinstance(found, Verdict):
        return found
    label, rest = found
    if label is Label.FINAL:
        if not (before.isspace() or before in _SENTENCE_ENDS):
            return Verdict.NEVER
        return _ended(label, marks, rest) or Verdict.NEVER
    tail = _TAIL.match(rest)
    if tail is None or not tail.group(2):
        return Verdict.MAYBE if tail is not None and tail.end() == len(rest) else Verdict.NEVER
    call = _CALL.fullmatch(rest, tail.end())
    if call is None:
        return Verdict.NEVER
    return Found(label) if call.group(1) else Verdict.MAYBE


def _word(text: str, words: dict[str, Label]) -> tuple[Label, str] | Verdict:
    """Find the word that a text begins with, and what follows it; MAYBE while it may be a longer one."""
    best = Verdict.NEVER
    for word, label in words.items():
        if word.startswith(text):
            best = Verdict.MAYBE
        if text.startswith(word):
            rest = text[len(word) :]
            tail = _TAIL.match(rest)
            if rest and tail is not None and (tail.end() == len(rest) or tail.group(2)):
                return label, rest
    return best


def _ended(label: Label, marks: str, rest: str) -> Found | Verdict | None:
    tail = _TAIL.fullmatch(rest)
    if tail is None:
        return None
    if not tail.group(2):
        return Verdict.MAYBE
    opened = sum(mark in "*_" for mark in marks)
    closed = sum(mark in "*_" for mark in tail.group(1))
    return Found(label, max(0, opened - closed))
