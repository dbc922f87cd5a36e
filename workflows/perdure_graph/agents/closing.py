"""Leaves calls out of a text while it is written: for any pieces what `markup.without_calls` makes of the whole.

Text is given out as soon as it cannot be part of a call. Held back is what may begin one, a few dozen characters or an
opening tag until it ends; space, which may be at an end; and behind a call in special tokens all the rest, because such
a call goes on to the last of its end tokens.
"""

from __future__ import annotations

import re
from typing import Literal, assert_never

from .markup import FENCE, FLAGS, FUNCTION, FUNCTION_END, LAST, NAMES, NAMESPACE, SPECIAL, SPECIAL_END, TAG

# text: none of the others. last: a call that goes on to the end, whatever comes.
Inside = Literal["text", "fence", "xml", "function", "special", "last"]


def _begun(word: str) -> str:
    """Make a pattern of all that `word` may begin with, also of nothing."""
    pattern = ""
    for char in reversed(word):
        pattern = f"(?:{re.escape(char)}{pattern})?"
    return pattern


_MARK = re.compile(r"[`<\[]")
_OPENS = re.compile(
    rf"(?P<fence>{FENCE})|(?P<xml>{TAG})|(?P<function>{FUNCTION})|(?P<special>{SPECIAL})|(?P<last>{LAST})", FLAGS
)
# An opening tag that lacks its end only: it may be far.
_UNENDED = re.compile(rf"<(?:{NAMESPACE}(?:{'|'.join(NAMES)})\s|function=)[^<>]*\Z", FLAGS)
_MAY_OPEN = re.compile(
    rf"`{{1,2}}\Z|<(?:[\w-]{{0,20}}|[|｜]\w{{0,20}}|{NAMESPACE}(?:{'|'.join(map(_begun, NAMES))}))\Z"
    rf"|<[|｜]tool[_▁][^|｜<>\n]{{0,40}}[|｜]?\Z|{_begun('[TOOL_CALLS]')}\Z",
    FLAGS,
)
_BRACKET = re.compile(r"[<>]")
_TAG_ENDS = re.compile(r"(?P<tag>[^<>]*)</(?P=tag)>", FLAGS)
_FUNCTION_ENDS = re.compile(FUNCTION_END, FLAGS)
_SPECIAL_ENDS = re.compile(SPECIAL_END, FLAGS)
_LONGEST_END = len("_end|>")


class ClosingText:
    """A text that is being written, without the calls in it."""

    def __init__(self) -> None:
        self._inside: Inside = "text"
        # Taken and not decided on; long only where `_unended`.
        self._held: list[str] = []
        self._unended = False
        self._tag = ""
        # Behind the last end token so far; None where there was none.
        self._behind: list[str] | None = None
        self._out: list[str] = []
        self._space = ""
        self._begun = False
        self._left_out = False

    def take(self, text: str) -> str:
        """Take the next piece; give what is certain now."""
        if self._unended and _BRACKET.search(text) is None:
            self._held.append(text)
            return ""
        self._read(text)
        return self._given()

    def finish(self) -> str:
        """Say that the text is whole; give the rest."""
        self._read("", whole=True)
        while self._inside == "special" and self._behind is not None:
            self._inside = "text"
            self._read("".join(self._behind), whole=True)
        return self._given() + ("" if self._left_out else self._space)

    def _given(self) -> str:
        text = self._space + "".join(self._out)
        self._out = []
        shown = text.rstrip()
        self._space = text[len(shown) :]
        if self._left_out and not self._begun:
            shown = shown.lstrip()
        self._begun = self._begun or bool(shown)
        return shown

    def _read(self, piece: str, *, whole: bool = False) -> None:
        """Read what was held and a piece. whole: nothing comes behind it."""
        text = "".join((*self._held, piece))
        self._held, self._unended = [], False
        at = 0
        while at < len(text):
            match self._inside:
                case "text":
                    at = self._text(text, at, whole=whole)
                case "fence":
                    at = self._fence(text, at, whole=whole)
                case "xml":
                    at = self._xml(text, at)
                case "function":
                    at = self._function(text, at)
                case "special":
                    at = self._special(text, at, whole=whole)
                case "last":
                    at = len(text)
                case _:
                    assert_never(self._inside)

    def _text(self, text: str, at: int, *, whole: bool) -> int:
        shown = at
        while (mark := _MARK.search(text, at)) is not None:
            at = mark.start()
            if (opening := _OPENS.match(text, at)) is not None:
                self._out.append(text[shown:at])
                self._open(opening)
                return opening.end()
            self._unended = not whole and _UNENDED.match(text, at) is not None
            if self._unended or (not whole and _MAY_OPEN.match(text, at) is not None):
                self._out.append(text[shown:at])
                return self._hold(text, at)
            at += 1
        self._out.append(text[shown:])
        return len(text)

    def _open(self, opening: re.Match[str]) -> None:
        for inside in ("fence", "xml", "function", "special", "last"):
            if opening[inside] is not None:
                self._inside = inside
        if self._inside == "fence":
            self._out.append(FENCE)
            return
        self._left_out = True
        self._tag = opening["tag"] or ""
        self._behind = None

    def _fence(self, text: str, at: int, *, whole: bool) -> int:
        """Show what is in a fence; ticks that may be the first of its end wait for more."""
        end = text.find(FENCE, at)
        if end >= 0:
            self._inside, end = "text", end + len(FENCE)
        else:
            end = len(text) if whole else max(at, len(text.rstrip("`")))
        self._out.append(text[at:end])
        return end if self._inside == "text" else self._hold(text, end)

    def _xml(self, text: str, at: int) -> int:
        length = len(f"</{self._tag}>")
        end = text.find("</", at)
        while 0 <= end <= len(text) - length:
            if _TAG_ENDS.fullmatch(self._tag + text[end : end + length]) is not None:
                self._inside = "text"
                return end + length
            end = text.find("</", end + 1)
        return self._hold(text, max(at, len(text) - length + 1))

    def _function(self, text: str, at: int) -> int:
        end = _FUNCTION_ENDS.search(text, at)
        if end is None:
            return self._hold(text, max(at, len(text) - len(FUNCTION_END) + 1))
        self._inside = "text"
        return end.end()

    def _special(self, text: str, at: int, *, whole: bool) -> int:
        for end in _SPECIAL_ENDS.finditer(text, at):
            self._behind, at = [], end.end()
        undecided = len(text) if whole else max(at, len(text) - _LONGEST_END + 1)
        if self._behind is not None:
            self._behind.append(text[at:undecided])
        return self._hold(text, undecided)

    def _hold(self, text: str, at: int) -> int:
        self._held = [text[at:]]
        return len(text)
