"""Reads what a model writes in ReAct form into units: whole, or piece by piece with the same result for any pieces.

Three forms are read at once: a JSON object that names an action, in a code fence or not; `Action:` and `Action Input:`
lines; `Final Answer:`. Labels may be in English or Chinese. See `labels` for where they count, `calls` for which JSON
is a call, `blocks` for what is held back until it is whole.

Text is given out as soon as it cannot become anything else: at most `labels.LONGEST` characters are held back beside
blocks, and space, which may be at an end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, assert_never

from .blocks import MOST_HELD, FenceBlock, JsonBlock, Scanner
from .calls import as_input, calls_in, is_final, name_in
from .json_text import Scan, decode, decode_repaired
from .labels import Found, Label, Verdict, begins_line, begins_middle, read_line, read_middle
from .sink import Sink
from .think import Think
from .units import Action, Answer, Delta, Malformed, ToolInput, Unit

Place = Literal["text", "action", "input"]

_JSON_FENCES = frozenset({"", "json", "json5", "jsonc"})


def parse(text: str) -> list[Unit]:
    """Read a whole turn."""
    parser = IncrementalParser()
    parser.feed(text)
    parser.finish()
    return parser.units


class IncrementalParser:
    """Reads a turn while it is written."""

    def __init__(self) -> None:
        self._think = Think()
        self._said = Sink()
        self._reasoned = Sink()
        self._reader = _Reader(self._said)

    def feed(self, piece: str) -> list[Delta]:
        """Take the next piece; give what is certain now."""
        for char in piece:
            self._pass(self._think.feed(char))
            if not self._think.inside:
                self._reasoned.end()
        return self._reasoned.drain() + self._said.drain()

    def finish(self) -> list[Delta]:
        """Say that the turn is over; give the rest."""
        self._pass(self._think.finish())
        self._reader.finish()
        return self._reasoned.drain() + self._said.drain()

    @property
    def units(self) -> list[Unit]:
        """Units so far."""
        return self._said.units

    @property
    def reasoning(self) -> list[str]:
        """Blocks of reasoning so far."""
        return self._reasoned.blocks

    @property
    def has_called(self) -> bool:
        """Whether an action is whole, or beyond reading: nothing that follows in the turn counts."""
        return self._said.has_called

    def _pass(self, chars: Iterator[tuple[str, bool]]) -> None:
        for char, inside in chars:
            if inside:
                self._reasoned.write("reasoning", char)
            else:
                self._reader.feed(char)


class _Reader:
    """The automaton: one method for each place in the text, which takes the next character.

    What turns out to be something else is put back and read again, in another place or as text.
    """

    def __init__(self, said: Sink) -> None:
        self._said = said
        self._place: Callable[[str], None] = self._text
        self._next: list[str] = []
        self._line_start = True
        self._before = " "
        self._held = ""
        self._in_middle = False
        self._closing_marks = 0
        self._block: JsonBlock | FenceBlock = JsonBlock(announced=False)
        self._block_in: Place = "text"
        # Follows text that looked like a block and was none: nothing in it begins one but a label on a line of its own.
        self._quote: Scanner | None = None
        self._name = ""
        self._line: list[str] = []

    def feed(self, char: str) -> None:
        self._next.append(char)
        while self._next:
            char = self._next.pop()
            if self._closing_marks and char in "*_":
                self._closing_marks -= 1
                continue
            self._closing_marks = 0
            self._place(char)

    def finish(self) -> None:
        while self._flush():
            if self._next:
                self.feed(self._next.pop())

    def _put_back(self, text: str) -> None:
        self._next.extend(reversed(text))

    def _go(self, place: Callable[[str], None], *, line_start: bool = False) -> None:
        self._place, self._line_start, self._before = place, line_start, " "

    # Text: thoughts, and where everything else begins.

    def _text(self, char: str) -> None:
        if self._held:
            self._hold(char)
        elif self._line_start and begins_line(char):
            self._held, self._in_middle = char, False
        else:
            self._plain(char)

    def _plain(self, char: str) -> None:
        """Read a character that begins no label of a line."""
        if self._follow(char):
            self._write(char)
        elif char in "{[":
            self._open(JsonBlock(announced=False), "text", char)
        elif char == "`":
            self._open(FenceBlock(announced=False), "text", char)
        elif begins_middle(char, self._before) and not self._line_start:
            self._held, self._in_middle = char, True
        else:
            self._write(char)

    def _follow(self, char: str) -> bool:
        """Say whether a character belongs to what was no block."""
        scan = self._quote.feed(char) if self._quote is not None else Scan.FAILED
        if scan is not Scan.OPEN:
            self._quote = None
        return scan is not Scan.FAILED

    def _write(self, text: str) -> None:
        self._said.write("thought", text)
        last = text[-1]
        self._line_start = last == "\n" or (self._line_start and last.isspace())
        self._before = last

    def _hold(self, char: str) -> None:
        self._held += char
        found = read_middle(self._held, self._before) if self._in_middle else read_line(self._held)
        if isinstance(found, Found) and found.label not in (Label.INPUT, Label.ANSWER):
            self._held, self._quote = "", None
            self._begin(found)
            if self._in_middle and found.label is Label.ACTION:
                self._put_back(char)
        elif found is not Verdict.MAYBE:
            self._let_go()

    def _let_go(self) -> None:
        """Take the first character held as text, and read the others again."""
        held, self._held = self._held, ""
        self._put_back(held[1:])
        self._follow(held[0])
        self._write(held[0])

    def _begin(self, found: Found) -> None:
        self._said.cut()
        self._closing_marks = found.marks
        match found.label:
            case Label.THOUGHT:
                self._go(self._text)
            case Label.ACTION:
                self._go(self._announced)
            case Label.OBSERVATION:
                self._go(self._ended)
            case Label.FINAL:
                self._go(self._answer)
            case Label.INPUT | Label.ANSWER:
                raise AssertionError(f"{found.label} stands behind an action only")
            case _ as never:
                assert_never(never)

    def _ended(self, char: str) -> None:
        """Drop what the model made up about what came of its action."""

    def _answer(self, char: str) -> None:
        self._said.write("answer", char)

    # Behind `Action:`.

    def _announced(self, char: str) -> None:
        if char.isspace():
            self._line_start = self._line_start or char == "\n"
        elif char in "{[":
            self._open(JsonBlock(announced=True), "action", char)
        elif char == "`":
            self._open(FenceBlock(announced=True), "action", char)
        elif self._line_start:
            self._go(self._text, line_start=True)
            self._put_back(char)
        else:
            self._start_line(self._name_line, char)

    def _start_line(self, place: Callable[[str], None], text: str) -> None:
        self._line = []
        self._go(place, line_start=self._line_start)
        self._put_back(text)

    def _name_line(self, char: str) -> None:
        if char == "\n":
            self._named("".join(self._line), line_start=True)
        else:
            self._line.append(char)

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

    def _open(self, block: JsonBlock | FenceBlock, place: Place, char: str) -> None:
        self._block, self._block_in = block, place
        self._place = self._in_block
        self._in_block(char)

    def _in_block(self, char: str) -> None:
        block = self._block
        match block.feed(char):
            case Scan.OPEN:
                if len(block) > MOST_HELD:
                    self._give_up()
            case Scan.CLOSED:
                self._closed()
            case Scan.FAILED:
                self._put_back(char)
                self._failed()

    def _closed(self) -> None:
        block, place = self._block, self._block_in
        self._put_back(block.rest)
        before, line_start = self._before, self._line_start
        self._go(self._text)
        match place:
            case "text":
                self._before, self._line_start = before, line_start
                self._closed_in_text(block)
            case "action":
                self._closed_action(block)
            case "input":
                self._closed_input(block)
            case _:
                assert_never(place)

    def _closed_in_text(self, block: JsonBlock | FenceBlock) -> None:
        if calls := _calls(block.json, announced=False):
            self._call(calls)
            self._before, self._line_start = " ", False
        else:
            self._write(block.text)

    def _closed_action(self, block: JsonBlock | FenceBlock) -> None:
        if calls := _calls(block.json, announced=True):
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

    def _call(self, calls: list[Action | Answer]) -> None:
        for call in calls:
            if isinstance(call, Action):
                self._said.add(call)
            else:
                self._said.cut()
                self._said.write("answer", call.text)
                self._said.cut()

    def _failed(self) -> None:
        """Read on from what looked like a block and is none; the character that showed it is put back already."""
        block, place = self._block, self._block_in
        if place == "text":
            self._as_text(block)
        elif place == "action":
            self._line_start = False
            self._start_line(self._name_line, block.text)
        else:
            self._start_line(self._input_text, "")
            self._line = list(block.text)
            self._line_start = False

    def _as_text(self, block: JsonBlock | FenceBlock) -> None:
        """Read a block that is none as text in which nothing counts but labels."""
        if isinstance(block, FenceBlock) and len(block) < 3:
            self._place = self._text
            self._write(block.text)
            return
        self._place = self._text
        self._quote = block.again()
        self._put_back(block.text)

    def _give_up(self) -> None:
        """End a block that is cut off, or too long to be held."""
        block, place = self._block, self._block_in
        if block.settle():
            self._closed()
        elif place == "text":
            self._as_text(block)
        elif isinstance(block, FenceBlock) and len(block) < 3:
            self._failed()
        else:
            self._go(self._text)
            if self._name or place == "action":
                self._said.add(Malformed(text=block.text.strip()))

    # The end.

    def _flush(self) -> bool:
        """Decide on what is held back; say whether that put something back to be read."""
        place = self._place
        if place == self._in_block:
            self._give_up()
        elif place == self._text and self._held:
            self._let_go()
        elif place == self._name_line:
            self._named("".join(self._line), line_start=True)
        elif place == self._behind_name:
            if is_final(self._name) and not self._held:
                return False
            self._decide(Verdict.NEVER)
        elif place in (self._input, self._input_text):
            self._line += self._held
            value = self._line_input() if place == self._input_text else {}
            self._held = ""
            self._act(value)
            self._go(self._text)
        else:
            return False
        return True


def _is_name(content: str) -> bool:
    return "\n" not in content and content[:1] not in ("{", "[")


def _calls(text: str | None, *, announced: bool) -> list[Action | Answer] | None:
    if text is None:
        return None
    try:
        return calls_in(decode_repaired(text) if announced else decode(text), announced=announced)
    except ValueError:
        return None


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
