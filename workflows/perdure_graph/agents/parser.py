"""Reads what a model writes in ReAct form into units: whole, or piece by piece with the same result for any pieces.

Three forms are read at once: a JSON object that names an action, in a code fence or not; `Action:` and `Action Input:`
lines; `Final Answer:`. Labels may be in English or Chinese. See `labels` for where they count, `calls` for which JSON
is a call, `blocks` for what is held back until it is whole.

Text is given out as soon as it cannot become anything else: at most `labels.LONGEST` characters are held back, beside
blocks, calls, and space, which may be at an end.
"""

from __future__ import annotations

from collections.abc import Iterator

from .call_reader import CallReader
from .sink import Sink
from .think import Think
from .units import Delta, Unit


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
        self._reader = CallReader(self._said)

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
