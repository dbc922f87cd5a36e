"""Blocks of a ReAct text that are read as a whole: JSON, and code fences."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from .json_text import Balanced, Scan, Strict

# Nothing longer is held back to see whether it is a call.
MOST_HELD = 64 * 1024


class Scanner(Protocol):
    """Follows a block to its end."""

    def feed(self, char: str) -> Scan:
        """Take the next character."""
        ...


class JsonBlock:
    """JSON in the text. When closed, `json` is its text, and `rest` what was taken behind it."""

    def __init__(self, *, announced: bool) -> None:
        self._scanner: Scanner = Balanced() if announced else Strict()
        self._chars: list[str] = []
        self.rest = ""

    def feed(self, char: str) -> Scan:
        """Take the next character; one that does not belong to it is not kept."""
        scan = self._scanner.feed(char)
        if scan is not Scan.FAILED:
            self._chars.append(char)
        return scan

    def settle(self) -> bool:
        """Say that no more comes: whether it is closed after all."""
        return False

    def again(self) -> Scanner:
        """Give a scanner for the same text."""
        return Strict()

    def __len__(self) -> int:
        return len(self._chars)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._chars)

    @property
    def json(self) -> str:
        """The JSON in it."""
        return self.text


class FenceBlock:
    """A fenced block. When closed: `json` is its content where that is one JSON text, else `content` holds it."""

    def __init__(self, *, announced: bool) -> None:
        self._announced = announced
        self._ticks = 0
        self._body: list[str] = []
        self._take: Callable[[str], Scan] = self._opening
        self._scanner: Scanner = Strict()
        self._run = 0
        self._json_at: int | None = None
        self._closed = False
        self.json: str | None = None
        self.rest = ""

    def feed(self, char: str) -> Scan:
        """Take the next character; fewer than three backticks are no fence."""
        return self._take(char)

    def settle(self) -> bool:
        """Say that no more comes: whether it is closed after all, what went on behind its end being no JSON."""
        if self._take in (self._opening, self._plain):
            return False
        return self._as_plain() is Scan.CLOSED

    def again(self) -> Scanner:
        """Give a scanner for the same text."""
        return _Ticks()

    def __len__(self) -> int:
        return self._ticks + len(self._body)

    @property
    def text(self) -> str:
        """All of it, with the backticks."""
        return "`" * self._ticks + "".join(self._body) + ("`" * self._ticks if self._closed else "")

    @property
    def language(self) -> str:
        """What stands behind the opening backticks."""
        info, line_break, _ = "".join(self._body).partition("\n")
        return info.strip().lower() if line_break else ""

    @property
    def content(self) -> str:
        """What stands in it."""
        body = "".join(self._body)
        return (body.partition("\n")[2] if "\n" in body else body).strip()

    def _opening(self, char: str) -> Scan:
        if char == "`":
            self._ticks += 1
            return Scan.OPEN
        if self._ticks < 3:
            return Scan.FAILED
        self._take = self._info
        return self._info(char)

    def _info(self, char: str) -> Scan:
        """Read the language, unless JSON or the end comes at once."""
        if char in "{[" and _LANGUAGE.fullmatch("".join(self._body)):
            return self._start_json(char)
        self._body.append(char)
        if char == "`":
            return self._as_plain()
        if char == "\n":
            self._take = self._start
        return Scan.OPEN

    def _start(self, char: str) -> Scan:
        if char in "{[":
            return self._start_json(char)
        self._body.append(char)
        return Scan.OPEN if char.isspace() else self._as_plain()

    def _start_json(self, char: str) -> Scan:
        self._json_at = len(self._body)
        self._scanner = Balanced() if self._announced else Strict()
        self._take = self._within
        return self._within(char)

    def _within(self, char: str) -> Scan:
        self._body.append(char)
        match self._scanner.feed(char):
            case Scan.FAILED:
                return self._as_plain()
            case Scan.CLOSED:
                self.json = "".join(self._body[self._json_at :])
                self._take = self._behind
            case Scan.OPEN:
                pass
        return Scan.OPEN

    def _behind(self, char: str) -> Scan:
        """Read the end behind JSON."""
        self._body.append(char)
        if char == "`":
            self._run += 1
            return self._close(len(self._body) - self._run) if self._run == self._ticks else Scan.OPEN
        return Scan.OPEN if char.isspace() and not self._run else self._as_plain()

    def _as_plain(self) -> Scan:
        """Read again what was taken: it is not one JSON text."""
        self.json = None
        body = "".join(self._body)
        end = body.find("`" * self._ticks)
        if end >= 0:
            return self._close(end)
        self._run = len(body) - len(body.rstrip("`"))
        self._take = self._plain
        return Scan.OPEN

    def _plain(self, char: str) -> Scan:
        self._body.append(char)
        self._run = self._run + 1 if char == "`" else 0
        return self._close(len(self._body) - self._run) if self._run == self._ticks else Scan.OPEN

    def _close(self, end: int) -> Scan:
        self._closed = True
        self.rest = "".join(self._body[end + self._ticks :])
        del self._body[end:]
        return Scan.CLOSED


class _Ticks:
    """Follows a fence to its closing backticks, whatever stands in it."""

    def __init__(self) -> None:
        self._opening = 0
        self._run = 0
        self._opened = False

    def feed(self, char: str) -> Scan:
        if char == "`" and not self._opened:
            self._opening += 1
            return Scan.OPEN
        self._opened = True
        self._run = self._run + 1 if char == "`" else 0
        return Scan.CLOSED if self._run == self._opening else Scan.OPEN


_LANGUAGE = re.compile(r"[ \t]*[\w+.#-]*[ \t]*")
