"""What readers see of a ReAct turn while it is written: its text as it will be in the end, never an action."""

from __future__ import annotations

from perdure_graph.agents.parser import IncrementalParser
from perdure_graph.agents.units import Called, Delta


class Spoken:
    """Gives out the final answer as it comes. A thought is given once it is sure that it is all that will be said:
    when its action is complete, or the turn is over.
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
