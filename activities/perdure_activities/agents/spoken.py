"""What readers see of a round while it is written: its text as it will be in the end, never an action, nor a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure_graph.agents.closing import ClosingText
from perdure_graph.agents.effects import AskRound
from perdure_graph.agents.parser import IncrementalParser
from perdure_graph.agents.units import Called, Delta

if TYPE_CHECKING:
    from ..models.call import Through


def through(effect: AskRound) -> Callable[[], Through] | None:
    """Say what the text of a round goes through on its way to readers; None where they see all of it."""
    if effect.closing:
        return SpokenLast if effect.strategy == "react" else ClosingText
    return Spoken if effect.strategy == "react" else None


class Spoken:
    """Gives out the final answer of a ReAct turn as it comes. A thought is given once it is sure that it is all that
    will be said: when its action is complete, or the turn is over.
    """

    def __init__(self) -> None:
        self._parser = IncrementalParser()
        self._thoughts: dict[int, str] = {}
        self._answering: int | None = None
        self._over = False

    def take(self, text: str) -> str:
        """Take the next piece."""
        return "".join(self._passed(delta) for delta in self._parser.feed(text))

    def finish(self) -> str:
        """Give the rest."""
        rest = "".join(self._passed(delta) for delta in self._parser.finish())
        return rest if self._over or self._answering is not None else rest + self._end()

    def _passed(self, delta: Delta) -> str:
        if self._over:
            return ""
        if isinstance(delta, Called):
            return "" if self._answering is not None else self._end()
        if delta.t == "thought" and self._answering is None:
            self._thoughts[delta.index] = self._thoughts.get(delta.index, "") + delta.text
        if delta.t != "answer" or self._answering not in (None, delta.index):
            return ""
        self._answering = delta.index
        return delta.text

    def _end(self) -> str:
        self._over = True
        return "\n".join(self._thoughts.values())


class SpokenLast:
    """Gives out a ReAct turn that was asked for without tools: no action, and no call in the model's own tokens."""

    def __init__(self) -> None:
        self._spoken, self._closing = Spoken(), ClosingText()

    def take(self, text: str) -> str:
        """Take the next piece."""
        return self._closing.take(self._spoken.take(text))

    def finish(self) -> str:
        """Give the rest."""
        return self._closing.take(self._spoken.finish()) + self._closing.finish()
