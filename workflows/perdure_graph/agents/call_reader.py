"""The other half of the automaton: what stands behind `Action:`, as JSON or line by line."""

from __future__ import annotations

import re
from collections.abc import Callable

from .blocks import FenceBlock, JsonBlock
from .calls import as_input, is_final, name_in
from .json_text import decode, decode_repaired
from .labels import Found, Label, Verdict, begins_line, read_line
from .reader import CallPlace, Reader, read_calls
from .sink import Sink
from .units import Action, Malformed, ToolInput

# A tool's name alone on its line, with the label of its input behind it.
_NAME = re.compile(r"[\w./-]+")
_LONGEST_LINE = 100
_JSON_FENCES = frozenset({"", "json", "json5", "jsonc"})


class CallReader(Reader):
    """Reads a whole turn into a sink."""

    def __init__(self, said: Sink) -> None:
        super().__init__(said)
        self._name = ""
        self._line: list[str] = []

    def _announced(self, char: str) -> None:
        if char.isspace():
            self._line_start = self._line_start or char == "\n"
        elif char in "{[":
            self._open(JsonBlock(announced=True), "action", char)
        elif char == "`":
            self._open(FenceBlock(announced=True), "action", char)
        else:
            self._start_line(self._next_line if self._line_start else self._name_line, char)

    def _start_line(self, place: Callable[[str], None], text: str) -> None:
        self._line = []
        self._go(place, line_start=self._line_start)
        self._put_back(text)

    def _name_line(self, char: str) -> None:
        if char == "\n":
            self._named("".join(self._line), line_start=True)
        else:
            self._line.append(char)

    def _next_line(self, char: str) -> None:
        """Read a name that stands on a line of its own: it is one only if the label of an input follows."""
        self._line.append(char)
        line, line_break, behind = "".join(self._line).partition("\n")
        behind = behind.lstrip()
        found = read_line(behind) if behind else Verdict.MAYBE
        if isinstance(found, Found) and found.label is Label.INPUT:
            self._name, self._held = name_in(line), behind
            self._decide(found)
        elif found is not Verdict.MAYBE or len(self._line) > _LONGEST_LINE or not (line_break or _NAME.fullmatch(line)):
            self._no_name()

    def _no_name(self) -> None:
        self._name = ""
        self._go(self._behind_name, line_start=True)
        self._put_back("".join(self._line))

    def _named(self, line: str, *, line_start: bool) -> None:
        self._name = name_in(line)
        self._go(self._behind_name, line_start=line_start)

    def _behind_name(self, char: str) -> None:
        """Look for the label of the input; for a final answer it may be missing."""
        if self._held:
            self._held += char
            found = read_line(self._held)
            if found is not Verdict.MAYBE:
                self._decide(found)
        elif char.isspace():
            self._line_start = self._line_start or char == "\n"
        elif self._line_start and begins_line(char):
            self._held = char
        else:
            self._held = char
            self._decide(Verdict.NEVER)

    def _decide(self, found: Found | Verdict) -> None:
        held, self._held = self._held, ""
        label = found.label if isinstance(found, Found) else None
        marks = found.marks if isinstance(found, Found) else 0
        if is_final(self._name):
            self._go(self._answer)
            self._said.cut()
            if label in (Label.INPUT, Label.ANSWER, Label.FINAL):
                self._closing_marks = marks
            else:
                self._put_back(held)
        elif label is Label.INPUT:
            self._go(self._input)
            self._closing_marks = marks
        else:
            self._act({})
            self._go(self._text, line_start=self._line_start)
            self._put_back(held)

    # Behind `Action Input:`.

    def _input(self, char: str) -> None:
        if char.isspace():
            self._line_start = self._line_start or char == "\n"
        elif char in "{[":
            self._open(JsonBlock(announced=True), "input", char)
        elif char == "`":
            self._open(FenceBlock(announced=True), "input", char)
        else:
            self._start_line(self._input_text, char)

    def _input_text(self, char: str) -> None:
        """Read text up to the next label."""
        if self._held:
            self._held += char
            found = read_line(self._held)
            if isinstance(found, Found) and found.label not in (Label.INPUT, Label.ANSWER):
                self._held = ""
                self._act(self._line_input())
                self._begin(found)
            elif found is not Verdict.MAYBE:
                held, self._held = self._held, ""
                self._line.append(held[0])
                self._line_start = False
                self._put_back(held[1:])
        elif self._line_start and begins_line(char):
            self._held = char
        else:
            self._line.append(char)
            self._line_start = char == "\n" or (self._line_start and char.isspace())

    def _line_input(self) -> ToolInput:
        text = "".join(self._line).strip()
        return _unquoted(text) if text else {}

    def _act(self, value: ToolInput) -> None:
        """Perform what was named; after `Action: None` there is nothing to."""
        if self._name:
            self._said.add(Action(name=self._name, input=value))
        else:
            self._said.cut()

    # Blocks.

    def _closed_call(self, block: JsonBlock | FenceBlock, place: CallPlace) -> None:
        if place == "action":
            self._closed_action(block)
        else:
            self._closed_input(block)

    def _failed_call(self, block: JsonBlock | FenceBlock, place: CallPlace) -> None:
        """Read backticks that are no fence: of the name, or of the input."""
        self._line_start = False
        self._start_line(self._name_line if place == "action" else self._input_text, block.text)

    def _broken_call(self, block: JsonBlock | FenceBlock, place: CallPlace) -> None:
        if self._name or place == "action":
            self._said.add(Malformed(text=block.text.strip()))

    def _closed_action(self, block: JsonBlock | FenceBlock) -> None:
        if calls := read_calls(block.json, announced=True):
            self._call(calls)
        elif isinstance(block, FenceBlock) and block.json is None and _is_name(block.content):
            self._named(block.content, line_start=False)
        else:
            self._said.add(Malformed(text=block.text.strip()))

    def _closed_input(self, block: JsonBlock | FenceBlock) -> None:
        if isinstance(block, FenceBlock) and (block.json is None or block.language not in _JSON_FENCES):
            broken = block.content[:1] in ("{", "[") and block.language in _JSON_FENCES
            value = None if broken else _unquoted(block.content)
        else:
            value = _repaired(block.json or "")
        if value is not None or not self._name:
            self._act(value or {})
        else:
            self._said.add(Malformed(text=block.text.strip()))

    # The end.

    def _flush_call(self) -> bool:
        place = self._place
        if place == self._name_line:
            self._named("".join(self._line), line_start=True)
        elif place == self._next_line:
            self._no_name()
        elif place == self._behind_name and (self._held or not is_final(self._name)):
            self._decide(Verdict.NEVER)
        elif place in (self._input, self._input_text):
            self._line += self._held
            self._held = ""
            self._act(self._line_input() if place == self._input_text else {})
            self._go(self._text)
        else:
            return False
        return True


def _is_name(content: str) -> bool:
    return "\n" not in content and content[:1] not in ("{", "[")


def _repaired(text: str) -> ToolInput | None:
    try:
        return as_input(decode_repaired(text))
    except ValueError:
        return None


def _unquoted(text: str) -> ToolInput:
    """Take a text in JSON's quotes for what it says; others stay as they are."""
    if not text.startswith('"'):
        return text
    try:
        value = decode(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text
