"""Server-sent events out of bytes, as the standard says. The OpenAI SDK's reader takes a blank line behind an id for
an event, which it then cannot read. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_LINE_END = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Sent:
    """One event: its name, where it has one, and its data."""

    name: str
    data: str


@dataclass(slots=True)
class SseReader:
    """Reads one stream, in pieces of any size."""

    _rest: list[bytes] = field(default_factory=list[bytes])
    _after_cr: bool = False
    _name: str = ""
    _data: list[str] = field(default_factory=list[str])

    def feed(self, part: bytes) -> Iterator[Sent]:
        """Read the next bytes.

        Raises:
            UnicodeDecodeError: they are not UTF-8.
        """
        if self._after_cr and part.startswith(b"\n"):
            part = part[1:]
            self._after_cr = False
        if not part:
            return
        self._after_cr = part.endswith(b"\r")
        lines = _LINE_END.split(part)
        for line in lines[:-1]:
            yield from self._line(b"".join([*self._rest, line]).decode("utf-8"))
            self._rest.clear()
        self._rest.append(lines[-1])

    def end(self) -> Iterator[Sent]:
        """Give the event that the stream ended in: some servers leave out the last blank line."""
        yield from self._line(b"".join(self._rest).decode("utf-8", "replace"))
        yield from self._line("")

    def _line(self, line: str) -> Iterator[Sent]:
        if not line:
            name, data = self._name, self._data
            self._name, self._data = "", []
            # Without data it is no event.
            if any(data):
                yield Sent(name, "\n".join(data))
            return
        field_, _, value = line.lstrip("\ufeff").partition(":")
        value = value.removeprefix(" ")
        if field_ == "data":
            self._data.append(value)
        elif field_ == "event":
            self._name = value
