"""The units of a turn while they are written."""

from __future__ import annotations

from typing import Literal

from .units import Action, Called, Delta, Malformed, Unit, Written, joined

Kind = Literal["thought", "answer", "reasoning"]


class Sink:
    """Collects pieces of text and whole actions; `drain` gives what came since the last time.

    A piece is trimmed: space at its end stays back until more of it comes. Pieces of one kind that follow each other
    are one unit, a line break between them.

    has_called: whether there is a whole action, or one that cannot be read.
    """

    def __init__(self) -> None:
        self.has_called = False
        self._deltas: list[Delta] = []
        self._waiting: list[Delta] = []
        self._count = 0
        self._open: Kind | None = None
        self._begun = False
        self._space: list[str] = []

    def write(self, kind: Kind, text: str) -> None:
        """Add text to the piece that is open."""
        body = text.strip()
        if not body:
            if self._begun:
                self._space.append(text)
            return
        if self._open != kind:
            self.cut()
            self._open = kind
            self._count += 1
            lead = ""
        elif self._begun:
            lead = "".join(self._space) + text[: len(text) - len(text.lstrip())]
        else:
            lead = "\n"
        self._begun = True
        self._space = [text[len(text.rstrip()) :]]
        self._waiting.append(Written(kind, self._count - 1, lead + body))

    def cut(self) -> None:
        """End the piece that is open."""
        self._begun = False
        self._space = []

    def add(self, unit: Action | Malformed) -> None:
        """Add a whole unit."""
        self.end()
        self.has_called = True
        self._waiting.append(Called(self._count, unit))
        self._count += 1

    def end(self) -> None:
        """End the unit that is open: what follows is another one, of whatever kind."""
        self.cut()
        self._open = None

    def drain(self) -> list[Delta]:
        """Give what came since the last time, neighbouring texts of a unit as one."""
        fresh: list[Delta] = []
        run: list[str] = []
        for delta in self._waiting:
            last = fresh[-1] if fresh else None
            if isinstance(delta, Written) and isinstance(last, Written) and last.index == delta.index:
                run.append(delta.text)
                continue
            _close(fresh, run)
            fresh.append(delta)
            run = [delta.text] if isinstance(delta, Written) else []
        _close(fresh, run)
        self._waiting = []
        self._deltas += fresh
        return fresh

    @property
    def units(self) -> list[Unit]:
        """Units so far."""
        return joined([*self._deltas, *self._waiting])[0]

    @property
    def blocks(self) -> list[str]:
        """Blocks of reasoning so far."""
        return joined([*self._deltas, *self._waiting])[1]


def _close(fresh: list[Delta], run: list[str]) -> None:
    last = fresh[-1] if fresh else None
    if isinstance(last, Written) and len(run) > 1:
        fresh[-1] = Written(last.t, last.index, "".join(run))
