"""Which step of a script a request gets."""

from __future__ import annotations

from fnmatch import fnmatchcase

from .asked import Asked
from .script import GENERATING, Match, Script, Step


class Steps:
    """The steps of a script and how often each was used."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self._seen = [0] * len(script.steps)
        self._used = [0] * len(script.steps)

    def pick(self, asked: Asked) -> tuple[int, Step] | None:
        """Take the first step that matches and is not used up."""
        chosen: tuple[int, Step] | None = None
        for index, step in enumerate(self.script.steps):
            if not matches(step.match, asked):
                continue
            self._seen[index] += 1
            if chosen is not None or (step.match.nth is not None and step.match.nth != self._seen[index]):
                continue
            if step.times is not None and self._used[index] >= step.times:
                continue
            self._used[index] += 1
            chosen = index, step
        return chosen


def matches(match: Match, asked: Asked) -> bool:
    """Whether a request is one of those meant, `nth` aside."""
    wires = GENERATING if match.wire is None else {match.wire} if isinstance(match.wire, str) else set(match.wire)
    return (
        asked.wire in wires
        and (match.model is None or fnmatchcase(asked.model, match.model))
        and (match.turn is None or match.turn == asked.answers + 1)
        and (match.contains is None or match.contains in asked.user or match.contains in asked.system)
        and (match.has_tool is None or any(tool.name == match.has_tool for tool in asked.tools))
        and (match.has_schema is None or match.has_schema == (asked.schema is not None))
        and (match.key is None or match.key == asked.key)
        and (match.stream is None or match.stream == asked.stream)
    )
