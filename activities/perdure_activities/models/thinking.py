"""Thinking beside and inside the text: what of an answer is shown as text, and what is reasoning.

`tagged`: what a provider keeps apart is put into the text between think tags; tags of the model's own stay there.
`separated`: blocks between think tags are taken out of the text, wherever they stand; blank lines that are left
over are closed up and the ends trimmed, as Dify does.

What is given out piece by piece is, joined, the whole text; how the pieces were cut makes no difference.
"""

from __future__ import annotations

import re
from typing import Literal

from .protocol import Delta, TextDelta, ThinkingDelta, ThinkingDone

Mode = Literal["tagged", "separated"]

OPEN, CLOSE = "<think>\n", "\n</think>\n"

_OPEN_TAG = re.compile(r"<think(?:\s[^<>]{0,512})?>", re.IGNORECASE)
_CLOSE_TAG = re.compile(r"</think>", re.IGNORECASE)
# An end that more text may turn into a tag.
_OPEN_BEGUN = re.compile(r"<(?:t(?:h(?:i(?:n(?:k(?:\s[^<>]{0,512})?)?)?)?)?)?", re.IGNORECASE)
_CLOSE_BEGUN = re.compile(r"<(?:/(?:t(?:h(?:i(?:n(?:k)?)?)?)?)?)?", re.IGNORECASE)
_BLANK_LINES = re.compile(r"\n\s*\n")


class Shown:
    """Filter of the deltas of one answer. `text` and `reasoning` are what was shown and thought so far."""

    def __init__(self, mode: Mode) -> None:
        self._inline = _Separated() if mode == "separated" else None
        self._apart: list[str] = []
        self._thought: list[str] = []
        self._shown: list[str] = []

    def take(self, delta: Delta) -> str:
        """Take the next delta, of any kind; give the text to be shown now."""
        match delta:
            case TextDelta(text=text) if text:
                return self._show(self._end_block() + self._through(text))
            case ThinkingDelta(text=text) if text:
                begun = text if self._apart else OPEN + text
                self._apart.append(text)
                return self._show("" if self._inline else begun)
            case ThinkingDone():
                return self._show(self._end_block())
            case _:
                return ""

    def finish(self) -> str:
        """Say that no more comes; give the rest of the text."""
        rest = self._end_block()
        if self._inline is not None:
            rest += self._inline.finish()
            self._collect(self._inline)
        return self._show(rest)

    @property
    def text(self) -> str:
        """The text shown so far."""
        return "".join(self._shown)

    @property
    def reasoning(self) -> str:
        """What was thought in blocks that are over, a line break between them; empty where it is in the text."""
        return "\n".join(block for block in self._thought if block)

    def _through(self, text: str) -> str:
        if self._inline is None:
            return text
        shown = self._inline.take(text)
        self._collect(self._inline)
        return shown

    def _collect(self, inline: _Separated) -> None:
        self._thought += inline.blocks
        inline.blocks = []

    def _end_block(self) -> str:
        if not self._apart:
            return ""
        if self._inline is None:
            self._apart = []
            return CLOSE
        self._thought.append("".join(self._apart).strip())
        self._apart = []
        return ""

    def _show(self, text: str) -> str:
        if text:
            self._shown.append(text)
        return text


class _Separated:
    """Text without its think blocks; `blocks` are those that were found."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self._block: list[str] | None = None
        self._held = ""
        self._space = ""
        self._begun = False

    def take(self, text: str) -> str:
        held, self._held = self._held + text, ""
        shown: list[str] = []
        while held:
            inside = self._block is not None
            if found := (_CLOSE_TAG if inside else _OPEN_TAG).search(held):
                before, held = held[: found.start()], held[found.end() :]
                self._pass(before, shown)
                if inside:
                    self._end_block()
                else:
                    self._block = []
                continue
            last = held.rfind("<")
            if last >= 0 and (_CLOSE_BEGUN if inside else _OPEN_BEGUN).fullmatch(held, last):
                held, self._held = held[:last], held[last:]
            self._pass(held, shown)
            break
        return "".join(shown)

    def finish(self) -> str:
        # A block that nobody closed was cut off: still thinking.
        shown: list[str] = []
        self._pass(self._held, shown)
        self._held = ""
        self._end_block()
        return "".join(shown)

    def _end_block(self) -> None:
        if self._block is not None:
            self.blocks.append("".join(self._block).strip())
            self._block = None

    def _pass(self, text: str, shown: list[str]) -> None:
        if self._block is not None:
            self._block.append(text)
            return
        # Space at an end may turn out to be the end of the answer, or part of more of it behind a block.
        text = self._space + text
        body = text.rstrip()
        self._space = text[len(body) :]
        if not body:
            return
        if not self._begun:
            body, self._begun = body.lstrip(), True
        shown.append(_BLANK_LINES.sub("\n\n", body))


def split(text: str) -> tuple[str, str]:
    """Take the think blocks out of a whole text: gives the text without them, and what they say."""
    shown = Shown("separated")
    shown.take(TextDelta(text))
    shown.finish()
    return shown.text, shown.reasoning
