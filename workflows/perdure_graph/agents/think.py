"""What a model thinks between think tags, apart from what it says; CRLF becomes LF on the way."""

from __future__ import annotations

from collections.abc import Iterator

_OPEN, _CLOSE = "<think>", "</think>"


class Think:
    """Splits text as it comes into what is said, character by character, and reasoning.

    Tags may be nested; what is still open at the end is reasoning. A closing tag that closes nothing is text.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._held = ""
        self._return = False

    @property
    def inside(self) -> bool:
        """Whether what comes is reasoning."""
        return self._depth > 0

    def feed(self, char: str) -> Iterator[tuple[str, bool]]:
        """Take the next character; give those that are decided on, and whether each is reasoning."""
        if self._return:
            self._return = False
            if char != "\n":
                yield from self._feed("\r")
        if char == "\r":
            self._return = True
            return
        yield from self._feed(char)

    def finish(self) -> Iterator[tuple[str, bool]]:
        """Give what was held back."""
        if self._return:
            self._return = False
            yield from self._feed("\r")
        held, self._held = self._held, ""
        for char in held:
            yield char, self.inside

    def _feed(self, char: str) -> Iterator[tuple[str, bool]]:
        self._held += char
        tag = self._held.lower()
        if tag == _OPEN:
            self._depth, self._held = self._depth + 1, ""
        elif tag == _CLOSE and self._depth:
            self._depth, self._held = self._depth - 1, ""
        elif not (_OPEN.startswith(tag) or (self._depth and _CLOSE.startswith(tag))):
            # Both tags have one "<" only, so what is held begins anew with it or is text.
            held, self._held = (self._held[:-1], "<") if char == "<" else (self._held, "")
            for each in held:
                yield each, self.inside
