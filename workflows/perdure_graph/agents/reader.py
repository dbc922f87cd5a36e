"""The automaton that reads a ReAct turn: thoughts, where a call begins, the final answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, assert_never

from .blocks import MOST_HELD, FenceBlock, JsonBlock, Scanner
from .calls import calls_in
from .json_text import Scan, decode, decode_repaired
from .labels import Found, Label, Verdict, begins_line, begins_middle, read_line, read_middle
from .sink import Sink
from .units import Action, Answer

CallPlace = Literal["action", "input"]
Place = Literal["text"] | CallPlace


class Reader(ABC):
    """The automaton: one method for each place in the text, which takes the next character. This half reads text.

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

    def feed(self, char: str) -> None:
        """Take the next character."""
        self._next.append(char)
        while self._next:
            char = self._next.pop()
            if self._closing_marks and char in "*_":
                self._closing_marks -= 1
                continue
            self._closing_marks = 0
            self._place(char)

    def finish(self) -> None:
        """Say that the turn is over."""
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
        del char

    def _answer(self, char: str) -> None:
        self._said.write("answer", char)

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
        if place != "text":
            self._closed_call(block, place)
        elif calls := read_calls(block.json, announced=False):
            self._call(calls)
        else:
            self._before, self._line_start = before, line_start
            self._write(block.text)

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
        if self._block_in == "text":
            self._as_text(self._block)
        else:
            self._failed_call(self._block, self._block_in)

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
            self._broken_call(block, place)

    # The end.

    def _flush(self) -> bool:
        """Decide on what is held back; say whether that put something back to be read."""
        if self._place == self._in_block:
            self._give_up()
        elif self._place == self._text and self._held:
            self._let_go()
        else:
            return self._flush_call()
        return True

    # What stands behind `Action:`.

    @abstractmethod
    def _announced(self, char: str) -> None: ...

    @abstractmethod
    def _closed_call(self, block: JsonBlock | FenceBlock, place: CallPlace) -> None: ...

    @abstractmethod
    def _failed_call(self, block: JsonBlock | FenceBlock, place: CallPlace) -> None: ...

    @abstractmethod
    def _broken_call(self, block: JsonBlock | FenceBlock, place: CallPlace) -> None: ...

    @abstractmethod
    def _flush_call(self) -> bool: ...


def read_calls(text: str | None, *, announced: bool) -> list[Action | Answer] | None:
    """Read JSON as calls; None where it is no JSON, or data."""
    if text is None:
        return None
    try:
        return calls_in(decode_repaired(text) if announced else decode(text), announced=announced)
    except ValueError:
        return None
